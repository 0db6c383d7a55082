"""Two hosts sell from one store while everything that can fail does, on a schedule that one number decides."""
