"""Where the tests run: the server that KUBECONFIG names, and a namespace for each test."""

import os
import tempfile
import unittest

from kubernetes import config
from kubernetes.dynamic import DynamicClient

# Longer than anything here takes; what goes on longer has failed.
LIMIT_SECONDS = 30


def client():
    """A client of the server, without asking what it serves."""
    return config.new_client_from_config()


class Place(unittest.TestCase):
    """A dynamic client with a cache of its own, and a namespace that goes with the test."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.cache_file = os.path.join(self.folder.name, "discovered.json")
        self.dynamic = DynamicClient(client(), cache_file=self.cache_file)
        namespaces = self.kind("v1", "Namespace")
        made = namespaces.create(body={"metadata": {"generateName": "python-"}})
        self.namespace = made.metadata.name
        self.addCleanup(namespaces.delete, name=self.namespace)

    def kind(self, api_version, kind):
        """What the server serves under this name."""
        return self.dynamic.resources.get(api_version=api_version, kind=kind)

    def until(self, resource, name, holds, **place):
        """Watches an object until it is as wanted; that state of it."""
        watch = resource.watch(name=name, timeout=LIMIT_SECONDS, **place)
        for event in watch:
            if event["type"] != "DELETED" and holds(event["object"]):
                return event["object"]
        self.fail(f"{name} did not become what it should within {LIMIT_SECONDS} s")


def is_true(condition):
    """Whether an object has this condition, and it is true."""

    def holds(instance):
        conditions = (instance.status or {}).get("conditions") or []
        return any(it["type"] == condition and it["status"] == "True" for it in conditions)

    return holds
