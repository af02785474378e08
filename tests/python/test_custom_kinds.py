"""Kinds that are defined while the client runs, and Groma's own, through the dynamic client."""

import json

from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient, EagerDiscoverer
from kubernetes.dynamic.exceptions import (
    ResourceNotFoundError,
    UnprocessibleEntityError,
)

from place import Place, client, is_true

GROUP = "python.example.org"
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["teeth"],
            "properties": {
                "teeth": {"type": "integer", "minimum": 3},
                "metal": {"type": "string", "default": "steel"},
            },
        },
        "status": {"type": "object", "properties": {"turns": {"type": "integer"}}},
    },
}
DEFINITION = {
    "metadata": {"name": f"gears.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "gears", "singular": "gear", "kind": "Gear"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": SCHEMA},
            }
        ],
    },
}
SITE = {
    "apiVersion": "groma.dev/v1alpha1",
    "kind": "Site",
    "metadata": {"name": "python"},
    "spec": {"provider": "own", "region": "centre", "country": "ES", "tier": "edge"},
}
MERGE = "application/merge-patch+json"


class CustomKinds(Place):
    def define(self):
        definitions = self.kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
        definitions.create(body=DEFINITION)
        self.addCleanup(self.forget, definitions)
        self.until(definitions, f"gears.{GROUP}", is_true("Established"))

    def forget(self, definitions):
        """A kind is gone once its objects are; the next test defines it again."""
        name = f"gears.{GROUP}"
        start = definitions.get(name=name).metadata.resourceVersion
        definitions.delete(name=name)
        for event in definitions.watch(name=name, resource_version=start):
            if event["type"] == "DELETED":
                return

    def test_are_discovered_while_the_client_runs(self):
        with self.assertRaises(ResourceNotFoundError):
            self.kind(f"{GROUP}/v1", "Gear")
        self.define()
        self.assertEqual(self.kind(f"{GROUP}/v1", "Gear").name, "gears")
        # A second client begins with what the first wrote down, a third asks for everything at once.
        with open(self.cache_file, encoding="utf-8") as file:
            self.assertIn(GROUP, json.dumps(json.load(file)))
        for again in (
            DynamicClient(client(), cache_file=self.cache_file),
            DynamicClient(
                client(),
                cache_file=self.cache_file + ".eager",
                discoverer=EagerDiscoverer,
            ),
        ):
            found = again.resources.get(api_version=f"{GROUP}/v1", kind="Gear")
            self.assertEqual((found.name, found.namespaced), ("gears", True))
            self.assertIn("status", found.subresources)

    def test_live_a_whole_life(self):
        self.define()
        gears = self.kind(f"{GROUP}/v1", "Gear")

        def gear(name, teeth):
            return {
                "apiVersion": f"{GROUP}/v1",
                "kind": "Gear",
                "metadata": {"name": name},
                "spec": {"teeth": teeth},
            }

        made = gears.create(body=gear("a", 12), namespace=self.namespace)
        self.assertEqual((made.spec.metal, made.metadata.generation), ("steel", 1))
        with self.assertRaises(UnprocessibleEntityError) as refused:
            gears.create(body=gear("b", 2), namespace=self.namespace)
        self.assertIn("spec.teeth", str(refused.exception.body))

        def patch(body, **how):
            return gears.patch(name="a", namespace=self.namespace, body=body, **how)

        with self.assertRaises(ApiException) as refused:
            patch({"spec": {"teeth": 13}})
        self.assertEqual(refused.exception.status, 415, "no strategic patch of a custom kind")
        patched = patch({"spec": {"teeth": 13}}, content_type=MERGE)
        self.assertEqual((patched.spec.teeth, patched.metadata.generation), (13, 2))
        applied = gears.server_side_apply(
            body=gear("c", 20), namespace=self.namespace, field_manager="python"
        )
        self.assertEqual(applied.metadata.managedFields[0].operation, "Apply")

        gears.status.patch(
            name="a",
            namespace=self.namespace,
            body={"status": {"turns": 4}, "spec": {"teeth": 99}},
            content_type=MERGE,
        )
        found = gears.get(name="a", namespace=self.namespace)
        self.assertEqual((found.status.turns, found.spec.teeth), (4, 13))
        gears.delete(name="a", namespace=self.namespace)
        names = [it.metadata.name for it in gears.get(namespace=self.namespace).items]
        self.assertEqual(names, ["c"])


class GromasOwn(Place):
    def test_are_checked_and_looked_after(self):
        providers = self.kind("groma.dev/v1alpha1", "Provider")
        sites = self.kind("groma.dev/v1alpha1", "Site")
        wrong = {**SITE, "spec": {**SITE["spec"], "tier": "nowhere"}}
        with self.assertRaises(UnprocessibleEntityError) as refused:
            sites.create(body=wrong)
        self.assertIn("spec.tier", str(refused.exception.body))

        sites.create(body=SITE)
        self.addCleanup(sites.delete, name="python")
        providers.create(
            body={
                "apiVersion": "groma.dev/v1alpha1",
                "kind": "Provider",
                "metadata": {"name": "own"},
                "spec": {"jurisdiction": "ES", "trust": "own"},
            }
        )
        self.addCleanup(providers.delete, name="own")
        self.until(sites, "python", is_true("Ready"))
