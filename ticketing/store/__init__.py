"""Only here is Redis spoken: connections, keys, scripts and the queue. Nothing here decides what a buyer is told."""
