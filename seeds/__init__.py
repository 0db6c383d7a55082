"""What is put on sale: demonstration events, or those of a file. Talks to Redis through ticketing.store alone."""
