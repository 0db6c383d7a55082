"""What the service says of itself: metrics, logs and traces. Nothing here holds a purchase id or a buyer."""
