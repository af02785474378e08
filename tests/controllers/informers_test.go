package controllers

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

// More than one page of a reflector that lists.
const many = 600

// factory is what informers of every sort come from.
type factory interface {
	Start(stop <-chan struct{})
	Shutdown()
}

// follow starts the informers and waits until they have seen what was there; they end with the test.
func follow(t *testing.T, factory factory, informer cache.SharedIndexInformer) {
	t.Helper()
	factory.Start(t.Context().Done())
	t.Cleanup(factory.Shutdown)
	if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the informer does not come to an end of what was there")
	}
}

// seen passes on what an informer tells, in words.
func seen(t *testing.T, informer cache.SharedIndexInformer) <-chan string {
	t.Helper()
	words := make(chan string, many)
	say := func(what string) func(any) {
		return func(object any) {
			if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = gone.Obj
			}
			about, err := meta.Accessor(object)
			if err != nil {
				t.Error(err)
				return
			}
			words <- fmt.Sprint(what, " ", about.GetName())
		}
	}
	update := say("update")
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    say("add"),
		UpdateFunc: func(_, object any) { update(object) },
		DeleteFunc: say("delete"),
	})
	must(t, err)
	return words
}

// expect waits for these words, in this order.
func expect(t *testing.T, words <-chan string, expected ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for _, next := range expected {
		select {
		case said := <-words:
			if said != next {
				t.Fatalf("the informer said %q, not %q", said, next)
			}
		case <-ctx.Done():
			t.Fatalf("the informer did not say %q", next)
		}
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func TestTypedInformersFollowWhatHappens(t *testing.T) {
	namespace, client := namespace(t), kubernetes.NewForConfigOrDie(config(t))
	maps := client.CoreV1().ConfigMaps(namespace)
	for i := range many {
		_, err := maps.Create(t.Context(), configMap(fmt.Sprintf("m%03d", i)), metav1.CreateOptions{})
		must(t, err)
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	informer := factory.Core().V1().ConfigMaps()
	words := seen(t, informer.Informer())
	follow(t, factory, informer.Informer())
	found, err := informer.Lister().ConfigMaps(namespace).List(labels.Everything())
	must(t, err)
	if len(found) != many {
		t.Fatalf("the cache has %d of %d objects when it says that it has all", len(found), many)
	}
	for range many {
		<-words
	}

	changed := found[0].DeepCopy()
	changed.Data = map[string]string{"key": "value"}
	_, err = maps.Update(t.Context(), changed, metav1.UpdateOptions{})
	must(t, err)
	must(t, maps.Delete(t.Context(), "m001", metav1.DeleteOptions{}))
	_, err = maps.Create(t.Context(), configMap("new"), metav1.CreateOptions{})
	must(t, err)
	expect(t, words, "update "+changed.Name, "delete m001", "add new")
}

func TestDynamicInformersFollowCustomKinds(t *testing.T) {
	defineGears(t)
	namespace, client := namespace(t), dynamic.NewForConfigOrDie(config(t))
	gears := client.Resource(gearResource).Namespace(namespace)
	selected := func(options *metav1.ListOptions) { options.LabelSelector = "tier=edge" }
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, namespace, selected)
	informer := factory.ForResource(gearResource)
	words := seen(t, informer.Informer())
	follow(t, factory, informer.Informer())

	gear := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"teeth": int64(12)}}}
	gear.SetGroupVersionKind(gearVersion.WithKind("Gear"))
	gear.SetName("a")
	_, err := gears.Create(t.Context(), gear, metav1.CreateOptions{})
	must(t, err)
	label := func(tier string) {
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"tier":%q}}}`, tier)
		_, err := gears.Patch(t.Context(), "a", types.MergePatchType, patch, metav1.PatchOptions{})
		must(t, err)
	}
	// It comes into sight, changes, and goes out of sight.
	label("edge")
	status := gear.DeepCopy()
	status.Object["status"] = map[string]any{"turns": int64(3)}
	_, err = gears.ApplyStatus(t.Context(), "a", status, metav1.ApplyOptions{FieldManager: "go"})
	must(t, err)
	label("core")
	expect(t, words, "add a", "update a", "delete a")
}

func TestMetadataInformersSeeNoMore(t *testing.T) {
	namespace := namespace(t)
	maps := kubernetes.NewForConfigOrDie(config(t)).CoreV1().ConfigMaps(namespace)
	wanted := configMap("a")
	wanted.Annotations = map[string]string{"note": "hello"}
	_, err := maps.Create(t.Context(), wanted, metav1.CreateOptions{})
	must(t, err)
	client := metadata.NewForConfigOrDie(config(t))
	factory := metadatainformer.NewFilteredSharedInformerFactory(client, 0, namespace, nil)
	informer := factory.ForResource(corev1.SchemeGroupVersion.WithResource("configmaps"))
	words := seen(t, informer.Informer())
	follow(t, factory, informer.Informer())
	found, err := informer.Lister().ByNamespace(namespace).Get("a")
	must(t, err)
	partial, ok := found.(*metav1.PartialObjectMetadata)
	if !ok || partial.Annotations["note"] != "hello" {
		t.Fatalf("the cache has %#v", found)
	}
	must(t, maps.Delete(t.Context(), "a", metav1.DeleteOptions{}))
	expect(t, words, "add a", "delete a")
}

func TestProtobufBodiesAreUnderstood(t *testing.T) {
	namespace, config := namespace(t), config(t)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client := kubernetes.NewForConfigOrDie(config)
	secrets := client.CoreV1().Secrets(namespace)
	wanted := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"tier": "edge"}},
		Data:       map[string][]byte{"key": {0, 255, 1}},
		StringData: map[string]string{"word": "hello"},
	}
	_, err := secrets.Create(t.Context(), wanted, metav1.CreateOptions{})
	must(t, err)
	found, err := secrets.Get(t.Context(), "a", metav1.GetOptions{})
	must(t, err)
	if !slices.Equal(found.Data["key"], wanted.Data["key"]) || string(found.Data["word"]) != "hello" {
		t.Fatalf("the data is %v", found.Data)
	}
	found.Labels["tier"] = "core"
	_, err = secrets.Update(t.Context(), found, metav1.UpdateOptions{})
	must(t, err)
	policy, none := metav1.DeletePropagationForeground, int64(0)
	options := metav1.DeleteOptions{
		GracePeriodSeconds: &none, PropagationPolicy: &policy,
		Preconditions: metav1.NewUIDPreconditions(string(found.UID)),
	}
	must(t, secrets.Delete(t.Context(), "a", options))
}
