"""Measuring: what each part costs, and the raw results behind the README's figures."""
