"""Every purchase gets its receipt: its status, its file, its outbox, its signed codes. Drawing it is workers/' job."""
