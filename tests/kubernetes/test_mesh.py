"""The mesh on a real Kubernetes: the tests of `linkerd local` that ask nothing of its inside.

They are the same functions; only the fixture differs. What they need of the node's processes is
asked in `test_recovery.py` in the words of a real node.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.mesh import a_namespace
from tests.integration.test_mesh import (  # noqa: F401 - collected here once more
    _workloads,
    test_a_meshed_client_is_known_to_a_meshed_server,
    test_a_policy_denies_within_two_seconds_and_its_end_readmits,
    test_a_server_that_speaks_first_passes_on_an_opaque_port,
    test_bytes_between_meshed_pods_are_tls,
    test_checks_pass,
    test_control_plane_pods_have_the_containers_users_know,
    test_diagnostics_show_endpoints_and_metrics,
    test_meshed_and_unmeshed_pods_reach_each_other,
    test_plain_tcp_passes,
)
from tests.kubernetes.mesh import KubernetesMesh

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesMesh]:
    mesh = KubernetesMesh(tmp_path_factory.mktemp("mesh"), "test-mesh")
    try:
        mesh.start()
        mesh.install()
        mesh.apply_objects(a_namespace("lab"), *_workloads())
        mesh.wait("lab")
        yield mesh
    finally:
        mesh.delete()
