"""The Kubernetes API of the embedded cluster.

    http (bytes) → app (who, may they, what) → resources (CRUD) → store
                                            ├→ watch, tables, discovery, openapi, reviews
                                            └→ relay (node.sock, aggregated APIs)

Decisions — selectors, patches, schemas, tables, RBAC, defaults — are synchronous functions over
values in modules of their own; `http`, `relay`, `webhooks` and `server` are the edges.
"""
