"""What is to be looked at before the doors open: machine, settings, store, parts, events. It changes nothing."""
