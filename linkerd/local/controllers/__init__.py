"""The controllers of the embedded cluster: what kube-controller-manager and kube-scheduler do.

    watch ──► World (what there is) ──► keys ──► plan(world, key, now) ──► actions ──► API
                  ▲                                                          │
                  └───────────── answers are seen at once ───────────────────┘

A controller is a pure function from the world and a key to a `Plan`; `engine` is the only file
that does IO. The world is fed by watches and by the API's answers to our own writes, so that the
next plan never acts on a world in which the last action did not happen.
"""
