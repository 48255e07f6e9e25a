"""Where the embedded API server is known to answer otherwise: scenario → piece → what it does.

Two lists: what may stay, because no client can tell or mind, and what is to be mended there. The
suite fails on a difference that is not listed and on a listed one that is gone.
"""

from __future__ import annotations

#: No client minds.
ALLOWED: dict[str, dict[str, str]] = {
    "reading.list_shape": {
        "body": "items of a list carry kind and apiVersion, which kubectl adds anyway",
    },
    "reading.unknown_paths": {
        "1": "an unknown group answers a Status instead of plain text",
        "4": "words of 405",
    },
    "reading.watch_refusals": {
        "0": "a malformed version is 400; Kubernetes says 500 without a reason",
    },
    "reading.tables": {
        **dict.fromkeys(["configmaps", "secrets"], "DATA is an integer column"),
        "cronjobs": "SUSPEND is a string column",
        "deployments": "counts are integer columns",
        "roles": "CREATED AT is a string column",
        "serviceaccounts": "SECRETS is still shown",
    },
    "writing.update": {
        "5": "words of a conflict, where Kubernetes shows its storage's",
    },
    "writing.delete": {
        "0": "words of a conflict",
    },
    "writing.finalizers": {
        "2": "one cause where Kubernetes names it twice",
    },
    "writing.strategic_patch": {
        "9/0": "a malformed patch is 400; Kubernetes says 500",
        "9/1": "words of it",
    },
    "writing.create": {
        "4": "a version on creation is dropped; Kubernetes says 500",
    },
    "writing.defaults_of_workloads": {
        **dict.fromkeys(
            ["daemonsets", "jobs", "replicasets", "statefulsets"],
            "no deprecated annotations and labels, no zero counts in a status",
        ),
    },
    "crds.validation": {
        **dict.fromkeys(["4", "17"], "one cause where Kubernetes names two"),
        "12": "reason of a malformed date",
        "14": "a null in place of a number is a wrong type",
        "18": "a wrong kind is 400, not 422",
    },
    "crds.bad_definitions": {
        "0/2": "one cause where Kubernetes names two",
    },
    "writing.invalid_objects": {
        "8": "one cause where Kubernetes names two",
        "11": "Kubernetes 1.36 takes service names that begin with a digit; earlier ones do not",
    },
    "access.token_requests": {
        "0/2": "no null for the missing bound object",
    },
    "access.access_reviews": {
        **dict.fromkeys(["0", "4"], "words of the reason"),
        "7": "status of a review that asks nothing",
    },
    "access.impersonation": {
        "5": "words of 403, which changed in 1.36",
    },
    "admission.mutation": {
        "3": "no empty cause",
    },
    "admission.bad_configurations": {
        **dict.fromkeys(["0/3", "2/3"], "reason of a missing field"),
    },
}

#: To be mended in `linkerd/local/apiserver`.
DRIFT: dict[str, dict[str, str]] = {
    "reading.list_versions": {
        **dict.fromkeys(
            ["0", "1", "2", "3"],
            "resourceVersion and resourceVersionMatch of lists are not checked",
        ),
    },
    "reading.unknown_paths": {
        "5": "PUT of a collection is 404, not 405",
    },
    "reading.watch_selected": {
        "1/2": "DELETED of an object that no longer matches shows it as it is, not as it was",
    },
    "reading.watch_refusals": {
        "2": "sendInitialEvents without resourceVersionMatch is accepted",
    },
    "reading.table_of_one": {
        "2": "a format that is not served is answered in JSON, not with 406",
    },
    "writing.create": {
        "9": "a body without a mapping is taken for an empty object",
    },
    "writing.unknown_fields": {
        "4": "duplicate keys are not seen",
    },
    "writing.strategic_patch": {
        "1": "merged items are appended; Kubernetes puts the patch's first",
    },
    "writing.apply": {
        "10": "apply without kind and apiVersion is accepted",
    },
    "writing.apply_lists": {
        **dict.fromkeys(
            ["1/0", "1/1", "1/2"],
            "applied items are put first; Kubernetes keeps the order that is there",
        ),
    },
    "writing.managers": {
        **dict.fromkeys(
            ["0", "1"],
            "updates are not recorded in managedFields, so apply sees no conflict with them",
        ),
    },
    "writing.appliers": {
        **dict.fromkeys(["0", "1"], "a label selector is atomic: one field, not its labels"),
    },
    "writing.defaults_of_workloads": {
        "cronjobs": "a job template is given defaults that only a job has",
    },
    "crds.defaults_and_pruning": {
        "3": "no warning for deprecated versions",
    },
    "crds.applied": {
        "1": "applied items are put first; Kubernetes keeps the order that is there",
    },
    "crds.bad_definitions": {
        **dict.fromkeys(
            ["3/0", "3/1", "3/2", "4/0", "4/1", "4/2"],
            "schemas without a type and unknown scopes are accepted",
        ),
    },
    "access.escalation": {
        **dict.fromkeys(["0", "2"], "whoever may write roles may grant what he lacks"),
    },
    "access.access_reviews": {
        "5": "a user named without groups counts as authenticated",
    },
    "access.impersonation": {
        "4": "a group may be impersonated without a user",
    },
    "admission.reviews": {
        "3": "a review's options lack gracePeriodSeconds",
    },
    "admission.bad_configurations": {
        **dict.fromkeys(
            ["3/1", "3/2", "3/3", "4/1", "4/2", "4/3", "5/1", "5/2", "5/3"],
            "names, timeouts and policies of webhooks are not checked",
        ),
    },
}

KNOWN: dict[str, dict[str, str]] = {
    label: {**ALLOWED.get(label, {}), **DRIFT.get(label, {})} for label in ALLOWED.keys() | DRIFT
}
#: `group/version/resource` → what discovery says otherwise.
DISCOVERY = {
    "v1/namespaces": "names deletecollection, which Kubernetes does not serve",
    "v1/pods/proxy": "has the kind of services/proxy",
}
