"""A built-in kind through the dynamic client: every verb, every kind of patch, pages and watches."""

import json

from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError

from place import LIMIT_SECONDS, Place

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"


class ConfigMaps(Place):
    def setUp(self):
        super().setUp()
        self.maps = self.kind("v1", "ConfigMap")

    def create(self, name, data, **metadata):
        body = {"metadata": {"name": name, **metadata}, "data": data}
        return self.maps.create(body=body, namespace=self.namespace)

    def data(self, name):
        return self.maps.get(name=name, namespace=self.namespace).data.to_dict()

    def test_is_created_read_replaced_and_deleted(self):
        made = self.create("a", {"k": "1"}, labels={"tier": "edge"})
        self.create("b", {"k": "2"})
        with self.assertRaises(ConflictError):
            self.create("a", {})
        found = self.maps.get(namespace=self.namespace, label_selector="tier in (edge)")
        self.assertEqual([it.metadata.name for it in found.items], ["a"])
        found = self.maps.get(namespace=self.namespace, field_selector="metadata.name=b")
        self.assertEqual([it.metadata.name for it in found.items], ["b"])

        stale = made.to_dict()
        made.data.k = "3"
        self.maps.replace(body=made, namespace=self.namespace)
        self.assertEqual(self.data("a"), {"k": "3"})
        with self.assertRaises(ConflictError):
            self.maps.replace(body=stale, namespace=self.namespace)

        self.maps.delete(name="a", namespace=self.namespace)
        with self.assertRaises(NotFoundError):
            self.maps.get(name="a", namespace=self.namespace)
        self.maps.delete(namespace=self.namespace, label_selector="!tier")
        self.assertEqual(self.maps.get(namespace=self.namespace).items, [])

    def test_is_patched_in_every_way(self):
        self.create("a", {"k": "1", "l": "1"}, finalizers=["example.org/one"])
        self.addCleanup(self.release, "a")

        def patch(body, **how):
            self.maps.patch(name="a", namespace=self.namespace, body=body, **how)

        # Strategic is the default: a list of finalizers is merged, not replaced.
        patch({"metadata": {"finalizers": ["example.org/two"]}, "data": {"k": "2"}})
        found = self.maps.get(name="a", namespace=self.namespace)
        finalizers = sorted(found.metadata.finalizers)
        self.assertEqual(finalizers, ["example.org/one", "example.org/two"])
        patch({"data": {"l": None, "m": "3"}}, content_type=MERGE)
        self.assertEqual(self.data("a"), {"k": "2", "m": "3"})
        patch([{"op": "replace", "path": "/data/m", "value": "4"}], content_type=JSON)
        self.assertEqual(self.data("a"), {"k": "2", "m": "4"})
        patch({"data": {"m": "5"}}, content_type=MERGE, dry_run="All")
        self.assertEqual(self.data("a"), {"k": "2", "m": "4"})

    def release(self, name):
        body = {"metadata": {"finalizers": None}}
        self.maps.patch(name=name, namespace=self.namespace, body=body, content_type=MERGE)

    def test_is_applied_by_two_managers(self):
        def apply(manager, data, **how):
            body = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "a"},
                "data": data,
            }
            self.maps.server_side_apply(
                namespace=self.namespace, body=body, field_manager=manager, **how
            )

        apply("one", {"k": "1", "l": "1"})
        apply("two", {"m": "1"})
        with self.assertRaises(ConflictError) as refused:
            apply("two", {"k": "2", "m": "1"})
        said = json.loads(refused.exception.body)["message"]
        self.assertEqual(said, 'Apply failed with 1 conflict: conflict with "one": .data.k')
        apply("two", {"k": "2", "m": "1"}, force_conflicts=True)
        self.assertEqual(self.data("a"), {"k": "2", "l": "1", "m": "1"})
        apply("one", {})
        self.assertEqual(self.data("a"), {"k": "2", "m": "1"})

    def test_is_listed_in_pages(self):
        names = [f"m{number}" for number in range(7)]
        for name in names:
            self.create(name, {})
        page = self.maps.get(namespace=self.namespace, limit=3)
        self.assertEqual(page.metadata.remainingItemCount, 4)
        first = page.metadata.resourceVersion
        # What comes meanwhile is not on later pages of the same list.
        self.create("m9", {})
        found = [it.metadata.name for it in page.items]
        while page.metadata["continue"]:
            token = page.metadata["continue"]
            page = self.maps.get(namespace=self.namespace, limit=3, _continue=token)
            self.assertEqual(page.metadata.resourceVersion, first)
            found += [it.metadata.name for it in page.items]
        self.assertEqual(found, names)

    def test_is_watched_until_the_time_is_up(self):
        self.create("a", {})
        start = self.maps.get(namespace=self.namespace).metadata.resourceVersion
        self.create("b", {}, labels={"tier": "edge"})
        self.maps.patch(name="a", namespace=self.namespace, body={"data": {"k": "1"}})
        self.maps.delete(name="b", namespace=self.namespace)

        def seen(**how):
            events = self.maps.watch(
                namespace=self.namespace, resource_version=start, timeout=1, **how
            )
            kinds = [(it["type"], it["object"].metadata.name) for it in events]
            return [it for it in kinds if it[0] != "BOOKMARK"]

        changes = [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
        self.assertEqual(seen(), changes)
        self.assertEqual(seen(allow_watch_bookmarks=True), changes)
        self.assertEqual(seen(label_selector="tier"), [changes[0], changes[2]])
        self.assertEqual(seen(name="a"), [changes[1]])

    def test_that_is_watched_from_long_ago_is_told_to_list_again(self):
        watch = self.maps.watch(
            namespace=self.namespace, resource_version=1, timeout=LIMIT_SECONDS
        )
        with self.assertRaises(ApiException) as gone:
            next(watch)
        self.assertEqual(gone.exception.status, 410)
        self.assertIn("too old resource version", gone.exception.reason)
