"""The typed half of the client, which knows the built-in kinds by classes of its own."""

import os
from datetime import datetime, timezone

import yaml
from kubernetes import utils, watch
from kubernetes.client import (
    ApiException,
    CoordinationV1Api,
    CoreV1Api,
    CustomObjectsApi,
    V1ConfigMap,
    V1Lease,
    V1LeaseSpec,
    V1ObjectMeta,
    V1Secret,
    VersionApi,
)

from place import LIMIT_SECONDS, Place, client


class Typed(Place):
    def setUp(self):
        super().setUp()
        self.core = CoreV1Api(client())

    def metadata(self, name):
        return V1ObjectMeta(name=name, namespace=self.namespace)

    def test_objects_are_written_and_read_as_classes(self):
        secret = V1Secret(metadata=self.metadata("s"), string_data={"k": "hello"})
        made = self.core.create_namespaced_secret(self.namespace, secret)
        self.assertEqual((made.data, made.type), ({"k": "aGVsbG8="}, "Opaque"))
        self.assertLessEqual(made.metadata.creation_timestamp, datetime.now(timezone.utc))

        leases = CoordinationV1Api(client())
        now = datetime.now(timezone.utc)
        spec = V1LeaseSpec(holder_identity="me", lease_duration_seconds=5, renew_time=now)
        lease = V1Lease(metadata=self.metadata("l"), spec=spec)
        made = leases.create_namespaced_lease(self.namespace, lease)
        self.assertEqual(made.spec.renew_time, now, "microseconds are kept")

        with self.assertRaises(ApiException) as missing:
            self.core.read_namespaced_config_map("none", self.namespace)
        self.assertEqual((missing.exception.status, missing.exception.reason), (404, "Not Found"))
        self.assertEqual(VersionApi(client()).get_code().major, "1")

    def test_a_watch_lists_first_and_goes_on(self):
        def create(name):
            body = V1ConfigMap(metadata=self.metadata(name))
            self.core.create_namespaced_config_map(self.namespace, body)

        create("a")
        seen = []
        stream = watch.Watch()
        for event in stream.stream(
            self.core.list_namespaced_config_map, self.namespace, _request_timeout=LIMIT_SECONDS
        ):
            self.assertIsInstance(event["object"], V1ConfigMap)
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 1:
                create("b")
            elif len(seen) == 2:
                self.core.delete_namespaced_config_map("a", self.namespace)
            else:
                stream.stop()
        self.assertEqual(seen, [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")])

    def test_an_expired_watch_starts_again_by_itself_once(self):
        stream = watch.Watch().stream(
            self.core.list_namespaced_config_map, self.namespace, resource_version="1"
        )
        with self.assertRaises(ApiException) as gone:
            next(stream)
        self.assertEqual(gone.exception.status, 410)

    def test_files_are_created(self):
        path = os.path.join(self.folder.name, "settings.yaml")
        settings = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "settings"},
            "data": {"k": "1"},
        }
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump(settings, file)
        utils.create_from_yaml(client(), path, namespace=self.namespace)
        utils.create_from_yaml(client(), path, namespace=self.namespace, apply=True)
        found = self.core.read_namespaced_config_map("settings", self.namespace)
        self.assertEqual(found.data, {"k": "1"})

    def test_custom_objects_are_read(self):
        custom = CustomObjectsApi(client())
        place = ("groma.dev", "v1alpha1", "providers", "typed")
        provider = {
            "apiVersion": "groma.dev/v1alpha1",
            "kind": "Provider",
            "metadata": {"name": "typed"},
            "spec": {"jurisdiction": "ES", "trust": "own"},
        }
        made = custom.create_cluster_custom_object(*place[:3], provider)
        self.addCleanup(custom.delete_cluster_custom_object, *place)
        self.assertEqual(custom.get_cluster_custom_object(*place)["spec"], made["spec"])
        listed = custom.list_cluster_custom_object(*place[:3], limit=1)
        self.assertEqual(listed["kind"], "ProviderList")
