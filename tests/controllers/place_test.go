// Package controllers holds what controllers do that other people write: informers of client-go, and managers of
// controller-runtime with all that one of them asks of a server. Each test is a client of the server that KUBECONFIG
// names.
package controllers

import (
	"context"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// Longer than anything here takes; what goes on longer has failed.
	limit = 30 * time.Second
	// How often something is looked at that cannot be watched.
	look = 20 * time.Millisecond
)

// config says where the server is.
func config(t *testing.T) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	must(t, err)
	// The server may limit; the client need not.
	config.QPS = -1
	return config
}

// namespace makes one that goes with the test.
func namespace(t *testing.T) string {
	t.Helper()
	namespaces := kubernetes.NewForConfigOrDie(config(t)).CoreV1().Namespaces()
	wanted := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "go-"}}
	made, err := namespaces.Create(t.Context(), wanted, metav1.CreateOptions{})
	must(t, err)
	t.Cleanup(func() {
		if err := namespaces.Delete(context.Background(), made.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return made.Name
}

// eventually waits until it holds.
func eventually(t *testing.T, what string, holds func(context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), look, limit, true, holds); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
