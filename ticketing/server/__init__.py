"""How bytes become calls: gunicorn's entry point, which patches gevent before anything else is imported."""
