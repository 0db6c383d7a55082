"""What others would write for the same job, to be measured beside ours. Nothing of the service is used here."""
