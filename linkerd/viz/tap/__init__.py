"""Tap: what requests pass the proxies, live.

    CLI, web ──client──► aggregated API (server) ──observing──► each proxy's Tap.Observe

`request` (what is asked), `targets` (which pods), `hydrate` (whose addresses), `render` and `top`
(what people see) and `framing` are pure; `server`, `observing` and `client` are the edges.
"""
