// Bodies as Kubernetes' own clients write them, for tests that send them.
//
//	bodies encode            reads objects as JSON, one a line, and writes each as protobuf, in base64
//	bodies random SEED N     makes N objects of every kind by chance and writes each as JSON and as protobuf
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill"
)

// The longest line that is read.
const lineBytesMax = 16 << 20

// The kinds that are made by chance.
var kinds = []string{
	"v1 ConfigMap", "v1 Endpoints", "v1 Event", "v1 LimitRange", "v1 Namespace", "v1 Node", "v1 PersistentVolume", "v1 PersistentVolumeClaim",
	"v1 Pod", "v1 PodTemplate", "v1 ReplicationController", "v1 ResourceQuota", "v1 Secret", "v1 Service", "v1 ServiceAccount",
	"admissionregistration.k8s.io/v1 MutatingWebhookConfiguration", "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy",
	"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding", "admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration",
	"apiextensions.k8s.io/v1 CustomResourceDefinition",
	"apps/v1 ControllerRevision", "apps/v1 DaemonSet", "apps/v1 Deployment", "apps/v1 ReplicaSet", "apps/v1 StatefulSet",
	"autoscaling/v1 Scale", "autoscaling/v2 HorizontalPodAutoscaler", "batch/v1 CronJob", "batch/v1 Job", "coordination.k8s.io/v1 Lease",
	"discovery.k8s.io/v1 EndpointSlice", "events.k8s.io/v1 Event",
	"networking.k8s.io/v1 Ingress", "networking.k8s.io/v1 IngressClass", "networking.k8s.io/v1 NetworkPolicy", "policy/v1 PodDisruptionBudget",
	"rbac.authorization.k8s.io/v1 ClusterRole", "rbac.authorization.k8s.io/v1 ClusterRoleBinding",
	"rbac.authorization.k8s.io/v1 Role", "rbac.authorization.k8s.io/v1 RoleBinding", "scheduling.k8s.io/v1 PriorityClass",
	"storage.k8s.io/v1 CSIDriver", "storage.k8s.io/v1 CSINode", "storage.k8s.io/v1 StorageClass", "storage.k8s.io/v1 VolumeAttachment",
}

type body struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Object     json.RawMessage `json:"object"`
	Protobuf   []byte          `json:"protobuf"`
}

func main() {
	if err := apiextensionsv1.AddToScheme(scheme.Scheme); err != nil {
		log.Fatal(err)
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	lines := json.NewEncoder(out)
	switch {
	case len(os.Args) == 2 && os.Args[1] == "encode":
		encode(lines)
	case len(os.Args) == 4 && os.Args[1] == "random":
		random(lines, number(os.Args[2]), number(os.Args[3]))
	default:
		log.Fatal("usage: bodies encode | bodies random SEED N")
	}
}

func number(text string) int64 {
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	return number
}

func encode(lines *json.Encoder) {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, lineBytesMax)
	for in.Scan() {
		object, _, err := asJSON().Decode(in.Bytes(), nil, nil)
		if err != nil {
			log.Fatal(err)
		}
		if err := lines.Encode(asProtobuf(object)); err != nil {
			log.Fatal(err)
		}
	}
}

func random(lines *json.Encoder, seed, n int64) {
	fill := filler(seed)
	for _, kind := range kinds {
		version, name, _ := strings.Cut(kind, " ")
		gvk := schema.FromAPIVersionAndKind(version, name)
		for i := int64(0); i < n; i++ {
			object, err := scheme.Scheme.New(gvk)
			if err != nil {
				log.Fatal(err)
			}
			fill.Fill(object)
			frame(object, fill, gvk)
			var text bytes.Buffer
			if err := asJSON().Encode(object, &text); err != nil {
				log.Fatalf("%s: %v", kind, err)
			}
			made := body{APIVersion: version, Kind: name, Object: text.Bytes(), Protobuf: asProtobuf(object)}
			if err := lines.Encode(made); err != nil {
				log.Fatal(err)
			}
		}
	}
}

// frame gives an object what every server lets pass.
func frame(object runtime.Object, fill *randfill.Filler, gvk schema.GroupVersionKind) {
	object.GetObjectKind().SetGroupVersionKind(gvk)
	accessor, err := meta.Accessor(object)
	if err != nil {
		log.Fatal(err)
	}
	accessor.SetName("made-by-chance")
	accessor.SetLabels(map[string]string{"made": "by-chance"})
	if event, ok := object.(*corev1.Event); ok {
		event.InvolvedObject.Namespace = "default"
	}
}

// filler makes what survives the way through JSON: times without fractions, texts that are UTF-8.
func filler(seed int64) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(0.3).NumElements(1, 2).MaxDepth(9).Funcs(
		func(text *string, c randfill.Continue) { *text = []string{"", "a", "ä b\n"}[c.Intn(3)] },
		func(number *int32, c randfill.Continue) { *number = int32(c.Intn(5) - 2) },
		func(number *int64, c randfill.Continue) { *number = int64(c.Intn(5) - 2) },
		func(number *float64, c randfill.Continue) { *number = float64(c.Intn(9)) / 4 },
		func(*metav1.ObjectMeta, randfill.Continue) {},
		func(*metav1.TypeMeta, randfill.Continue) {},
		func(t *metav1.Time, c randfill.Continue) { *t = metav1.Time{Time: instant(c, time.Second)} },
		func(t *metav1.MicroTime, c randfill.Continue) {
			*t = metav1.MicroTime{Time: instant(c, time.Microsecond)}
		},
		func(q *resource.Quantity, c randfill.Continue) {
			*q = resource.MustParse([]string{"0", "1", "1500m", "2Gi", "-3"}[c.Intn(5)])
		},
		func(port *intstr.IntOrString, c randfill.Continue) {
			*port = []intstr.IntOrString{intstr.FromInt32(0), intstr.FromInt32(80), intstr.FromString("web")}[c.Intn(3)]
		},
		func(raw *runtime.RawExtension, c randfill.Continue) { raw.Raw = document(c) },
		func(raw *apiextensionsv1.JSON, c randfill.Continue) { raw.Raw = document(c) },
		func(choice *apiextensionsv1.JSONSchemaPropsOrArray, c randfill.Continue) {
			choice.Schema = &apiextensionsv1.JSONSchemaProps{}
			c.Fill(choice.Schema)
		},
		func(choice *apiextensionsv1.JSONSchemaPropsOrStringArray, c randfill.Continue) {
			choice.Property = []string{"a"}
		},
		func(choice *apiextensionsv1.JSONSchemaPropsOrBool, c randfill.Continue) {
			choice.Allows = c.Bool()
			if choice.Allows {
				c.Fill(&choice.Schema)
			}
		},
	)
}

func instant(c randfill.Continue, unit time.Duration) time.Time {
	if c.Intn(4) == 0 {
		return time.Time{}
	}
	return time.Unix(int64(c.Intn(2_000_000_000)), int64(c.Intn(1_000_000_000))).UTC().Truncate(unit)
}

func document(c randfill.Continue) []byte {
	return []byte([]string{`{"a":[1,null,"b"]}`, `{}`, `"text"`}[c.Intn(3)])
}

func asJSON() *serializer.Serializer {
	return serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, serializer.SerializerOptions{})
}

func asProtobuf(object runtime.Object) []byte {
	var body bytes.Buffer
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(object, &body); err != nil {
		log.Fatal(err)
	}
	return body.Bytes()
}
