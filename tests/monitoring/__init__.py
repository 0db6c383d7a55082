"""What an operator sees: metrics, alerts and dashboards, against a real Prometheus where there is one."""
