package controllers

import (
	"context"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
)

var (
	gearVersion  = schema.GroupVersion{Group: "controllers.example.org", Version: "v1"}
	gearResource = gearVersion.WithResource("gears")
)

// Gear is a kind as a controller's author would define it.
type Gear struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              GearSpec   `json:"spec"`
	Status            GearStatus `json:"status,omitempty"`
}

// GearSpec is what is wanted of a gear.
type GearSpec struct {
	Teeth int32 `json:"teeth"`
	// Metal is filled in by the server.
	Metal string `json:"metal,omitempty"`
}

// GearStatus is what was seen of it.
type GearStatus struct {
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// GearList is several.
type GearList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Gear `json:"items"`
}

func (gear *Gear) DeepCopyObject() runtime.Object {
	copied := *gear
	gear.ObjectMeta.DeepCopyInto(&copied.ObjectMeta)
	copied.Status.Conditions = append([]metav1.Condition(nil), gear.Status.Conditions...)
	return &copied
}

func (list *GearList) DeepCopyObject() runtime.Object {
	copied := *list
	list.ListMeta.DeepCopyInto(&copied.ListMeta)
	copied.Items = make([]Gear, len(list.Items))
	for i := range list.Items {
		copied.Items[i] = *list.Items[i].DeepCopyObject().(*Gear)
	}
	return &copied
}

// scheme knows the built-in kinds and gears.
func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	must(t, clientgoscheme.AddToScheme(scheme))
	scheme.AddKnownTypes(gearVersion, &Gear{}, &GearList{})
	metav1.AddToGroupVersion(scheme, gearVersion)
	return scheme
}

// defineGears makes the server serve them, and returns once it does; another test may have done it before.
func defineGears(t *testing.T) {
	t.Helper()
	definitions := apiextensions.NewForConfigOrDie(config(t)).ApiextensionsV1().CustomResourceDefinitions()
	_, err := definitions.Create(t.Context(), gearDefinition(), metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		must(t, err)
	}
	eventually(t, "the definition is established", func(ctx context.Context) (bool, error) {
		found, err := definitions.Get(ctx, gearDefinition().Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, condition := range found.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return true, nil
			}
		}
		return false, nil
	})
}

func gearDefinition() *apiextensionsv1.CustomResourceDefinition {
	number, text, object := apiextensionsv1.JSONSchemaProps{Type: "integer"}, apiextensionsv1.JSONSchemaProps{Type: "string"}, true
	text.Default = &apiextensionsv1.JSON{Raw: []byte(`"steel"`)}
	properties := map[string]apiextensionsv1.JSONSchemaProps{
		"spec": {
			Type: "object", Required: []string{"teeth"},
			Properties: map[string]apiextensionsv1.JSONSchemaProps{"teeth": number, "metal": text},
		},
		"status": {Type: "object", XPreserveUnknownFields: &object},
	}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: gearResource.GroupResource().String()},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: gearVersion.Group,
			Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "gears", Singular: "gear", Kind: "Gear", ListKind: "GearList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: gearVersion.Version, Served: true, Storage: true,
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				Schema:       &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: properties}},
			}},
		},
	}
}
