package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	metav1apply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

const (
	finalizer = "controllers.example.org/cut"
	// The field by which gears are looked up in the cache.
	metalField = "spec.metal"
)

// cutter is a controller with all that people do in one: what it cuts is a ConfigMap and a Secret for each gear.
type cutter struct {
	client.Client
	events events.EventRecorder
	// The gears that were swept up, by the finalizer.
	swept chan<- string
}

// register adds it to a manager. Secrets are only watched by their metadata, so they are read from the server.
func (c *cutter) register(manager ctrl.Manager) error {
	metal := func(object client.Object) []string { return []string{object.(*Gear).Spec.Metal} }
	if err := manager.GetFieldIndexer().IndexField(context.Background(), &Gear{}, metalField, metal); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(manager).
		For(&Gear{}).
		Owns(&corev1.ConfigMap{}).
		Owns(&corev1.Secret{}, builder.OnlyMetadata).
		Complete(c)
}

func (c *cutter) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	gear := &Gear{}
	if err := c.Get(ctx, request.NamespacedName, gear); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !gear.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, c.sweep(ctx, gear)
	}
	if controllerutil.AddFinalizer(gear, finalizer) {
		return ctrl.Result{}, c.Update(ctx, gear)
	}
	if err := c.cut(ctx, gear); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, c.report(ctx, gear)
}

func (c *cutter) sweep(ctx context.Context, gear *Gear) error {
	if !controllerutil.RemoveFinalizer(gear, finalizer) {
		return nil
	}
	if err := c.Update(ctx, gear); err != nil {
		return client.IgnoreNotFound(err)
	}
	c.swept <- gear.Name
	return nil
}

// cut applies the ConfigMap on the server, and writes the Secret as a whole.
func (c *cutter) cut(ctx context.Context, gear *Gear) error {
	owner := metav1apply.OwnerReference().
		WithAPIVersion(gearVersion.String()).WithKind("Gear").WithName(gear.Name).WithUID(gear.UID).
		WithController(true).WithBlockOwnerDeletion(true)
	applied := corev1apply.ConfigMap(gear.Name, gear.Namespace).
		WithOwnerReferences(owner).
		WithData(map[string]string{"teeth": fmt.Sprint(gear.Spec.Teeth)})
	if err := c.Apply(ctx, applied, client.FieldOwner("cutter"), client.ForceOwnership); err != nil {
		return err
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: gear.Name, Namespace: gear.Namespace}}
	_, err := controllerutil.CreateOrUpdate(ctx, c, secret, func() error {
		secret.Data = map[string][]byte{"metal": []byte(gear.Spec.Metal)}
		return controllerutil.SetControllerReference(gear, secret, c.Scheme())
	})
	return err
}

func (c *cutter) report(ctx context.Context, gear *Gear) error {
	before := client.MergeFrom(gear.DeepCopyObject().(*Gear))
	changed := meta.SetStatusCondition(&gear.Status.Conditions, metav1.Condition{
		Type: "Ready", Status: metav1.ConditionTrue, Reason: "Cut",
		Message: fmt.Sprintf("it has %d teeth", gear.Spec.Teeth), ObservedGeneration: gear.Generation,
	})
	if !changed {
		return nil
	}
	c.events.Eventf(gear, nil, corev1.EventTypeNormal, "Cut", "Cutting", "cut %d teeth", gear.Spec.Teeth)
	return c.Status().Patch(ctx, gear, before)
}
