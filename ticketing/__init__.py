"""The API service: sells the tickets of many events at once, each ticket once.

Data goes one way: api -> sale -> outage -> store -> model. `app.create_app` is the one place where the parts meet.
"""
