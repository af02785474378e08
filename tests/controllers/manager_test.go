package controllers

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	controllerconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	lease = "cutter"
	// How often a manager renews its lease, or tries to get it.
	retry = 200 * time.Millisecond
)

// newManager makes one that works in one namespace, once it leads there.
func newManager(t *testing.T, namespace string) ctrl.Manager {
	t.Helper()
	ctrl.SetLogger(klog.Background())
	// Several managers of one process may have controllers of the same name.
	again, lasts, renew, every := true, 4*time.Second, 2*time.Second, retry
	manager, err := ctrl.NewManager(config(t), ctrl.Options{
		Scheme:                        scheme(t),
		Cache:                         cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		Client:                        client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		Controller:                    controllerconfig.Controller{SkipNameValidation: &again},
		Metrics:                       server.Options{BindAddress: "0"},
		LeaderElection:                true,
		LeaderElectionID:              lease,
		LeaderElectionNamespace:       namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &lasts,
		RenewDeadline:                 &renew,
		RetryPeriod:                   &every,
	})
	must(t, err)
	return manager
}

// start runs a manager until the function that it returns is called, or the test ends.
func start(t *testing.T, manager ctrl.Manager) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// world is what a test of the controller looks at: a client of its own, that asks the server each time.
type world struct {
	client.Client
	t         *testing.T
	namespace string
}

func (w world) named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: w.namespace}
}

// until waits until an object is there and as wanted.
func (w world) until(what, name string, object client.Object, holds func() bool) {
	w.t.Helper()
	eventually(w.t, what, func(ctx context.Context) (bool, error) {
		err := w.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, object)
		return err == nil && holds(), client.IgnoreNotFound(err)
	})
}

// ready waits until the controller has seen the last state of a gear.
func (w world) ready(name string) *Gear {
	w.t.Helper()
	gear := &Gear{}
	w.until("the gear is ready", name, gear, func() bool {
		ready := meta.FindStatusCondition(gear.Status.Conditions, "Ready")
		return ready != nil && ready.ObservedGeneration == gear.Generation
	})
	return gear
}

func TestAManagerReconciles(t *testing.T) {
	defineGears(t)
	namespace := namespace(t)
	manager, swept := newManager(t, namespace), make(chan string, 1)
	controller := &cutter{Client: manager.GetClient(), events: manager.GetEventRecorder("cutter"), swept: swept}
	must(t, controller.register(manager))
	stop := start(t, manager)
	direct, err := client.New(config(t), client.Options{Scheme: scheme(t)})
	must(t, err)
	world := world{direct, t, namespace}

	must(t, direct.Create(t.Context(), &Gear{ObjectMeta: world.named("a"), Spec: GearSpec{Teeth: 12}}))
	gear := world.ready("a")
	world.looksAfter(gear)
	world.indexes(manager.GetClient(), gear)
	world.told(gear)

	policy := client.PropagationPolicy(metav1.DeletePropagationForeground)
	must(t, direct.Delete(t.Context(), gear, policy))
	if name := <-swept; name != "a" {
		t.Fatalf("%s was swept up", name)
	}
	eventually(t, "all is gone", func(ctx context.Context) (bool, error) {
		gears, maps, secrets := &GearList{}, &corev1.ConfigMapList{}, &corev1.SecretList{}
		for _, list := range []client.ObjectList{gears, maps, secrets} {
			if err := direct.List(ctx, list, client.InNamespace(namespace)); err != nil {
				return false, err
			}
		}
		return len(gears.Items)+len(maps.Items)+len(secrets.Items) == 0, nil
	})
	stop()
}

// looksAfter changes and deletes what belongs to a gear; the controller mends it.
func (w world) looksAfter(gear *Gear) {
	w.t.Helper()
	ctx, made, secret := w.t.Context(), &corev1.ConfigMap{}, &corev1.Secret{}
	w.until("the ConfigMap is cut", "a", made, func() bool { return made.Data["teeth"] == "12" })
	made.Data["teeth"], made.Data["note"] = "none", "mine"
	must(w.t, w.Update(ctx, made))
	w.until("it is mended, and what another wrote stays", "a", made, func() bool {
		return made.Data["teeth"] == "12" && made.Data["note"] == "mine"
	})
	w.until("the Secret is cut", "a", secret, func() bool { return string(secret.Data["metal"]) == "steel" })
	uid := secret.UID
	must(w.t, w.Delete(ctx, secret, client.Preconditions{UID: &uid}))
	w.until("the Secret is cut again", "a", secret, func() bool { return secret.UID != uid })

	changed := gear.DeepCopyObject().(*Gear)
	changed.Spec = GearSpec{Teeth: 13, Metal: "brass"}
	must(w.t, w.Patch(ctx, changed, client.MergeFrom(gear)))
	w.ready("a")
	w.until("the change goes through", "a", made, func() bool { return made.Data["teeth"] == "13" })
	w.until("to the Secret, too", "a", secret, func() bool { return string(secret.Data["metal"]) == "brass" })
}

// indexes looks gears up in the cache by a field that the server knows nothing of.
func (w world) indexes(cached client.Client, gear *Gear) {
	w.t.Helper()
	for metal, expected := range map[string]int{"steel": 0, "brass": 1} {
		eventually(w.t, "the index follows", func(ctx context.Context) (bool, error) {
			found := &GearList{}
			err := cached.List(ctx, found, client.InNamespace(w.namespace), client.MatchingFields{metalField: metal})
			return len(found.Items) == expected, err
		})
	}
}

// told waits for the event that says what was done last.
func (w world) told(gear *Gear) {
	w.t.Helper()
	eventually(w.t, "an event says so", func(ctx context.Context) (bool, error) {
		events := &eventsv1.EventList{}
		if err := w.List(ctx, events, client.InNamespace(w.namespace)); err != nil {
			return false, err
		}
		for _, event := range events.Items {
			if event.Regarding.UID == gear.UID && event.Note == "cut 13 teeth" && event.Action == "Cutting" {
				return true, nil
			}
		}
		return false, nil
	})
}

func TestLeadershipPassesOn(t *testing.T) {
	namespace := namespace(t)
	direct, err := client.New(config(t), client.Options{Scheme: scheme(t)})
	must(t, err)
	world, found := world{direct, t, namespace}, &coordinationv1.Lease{}
	led := func(holds func() bool) string {
		world.until("someone leads", lease, found, func() bool { return *found.Spec.HolderIdentity != "" && holds() })
		return *found.Spec.HolderIdentity
	}
	first, second := newManager(t, namespace), newManager(t, namespace)
	stop := start(t, first)
	<-first.Elected()
	leader := led(func() bool { return true })
	start(t, second)
	since := found.Spec.RenewTime.Time
	// Long enough for the second one to have tried several times.
	led(func() bool { return found.Spec.RenewTime.After(since.Add(5 * retry)) })
	select {
	case <-second.Elected():
		t.Fatal("two lead at once")
	default:
	}
	stop()
	<-second.Elected()
	if led(func() bool { return true }) == leader {
		t.Fatalf("%s leads still", leader)
	}
}
