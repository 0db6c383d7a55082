"""What the service says of itself: metrics and logs. Nothing here holds a purchase id or a buyer."""
