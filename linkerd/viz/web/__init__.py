"""The dashboard's server: pages, JSON and live streams over a metrics-api."""
