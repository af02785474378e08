//! Bodies made by hand, and bodies made by chance. What real clients send is compared with kube-apiserver in the live tests.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::object::DEPTH_MAX;
use crate::resource::{Offered, Resource};

/// A field with a length.
fn part(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        bytes.push(0x80 | u8::try_from(length & 0x7f).expect("seven bits"));
        length >>= 7;
    }
    bytes.push(u8::try_from(length).expect("seven bits"));
    bytes.extend_from_slice(content);
    bytes
}

fn parts(parts: &[(u8, &[u8])]) -> Vec<u8> {
    parts
        .iter()
        .flat_map(|(number, content)| part(*number, content))
        .collect()
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let named = parts(&[(1, api_version.as_bytes()), (2, kind.as_bytes())]);
    [
        MAGIC.to_vec(),
        parts(&[(1, &named), (2, raw), (3, b""), (4, b"")]),
    ]
    .concat()
}

/// What stands in a message of that kind, without its frame.
fn read(group: &str, kind: &str, raw: &[u8]) -> Result<Value, String> {
    let read = document(group, kind, &body("", "", raw)).map_err(|failure| failure.message)?;
    let mut fields = read.as_object().cloned().unwrap_or_default();
    fields.remove("apiVersion");
    fields.remove("kind");
    Ok(Value::Object(fields))
}

#[test]
fn an_object_is_read_with_its_kind() {
    let metadata = parts(&[(1, b"a"), (2, b""), (8, b"")]);
    let entry = parts(&[(1, b"k"), (2, b"v")]);
    let bytes = parts(&[(3, &parts(&[(1, b"b"), (2, b"\xff")]))]);
    let raw = [
        parts(&[(1, &metadata), (2, &entry)]),
        bytes,
        vec![4 << 3, 0],
    ]
    .concat();
    let read = document("", "ConfigMap", &body("v1", "ConfigMap", &raw)).expect("a ConfigMap");
    assert_eq!(
        read,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"},
            "binaryData": {"b": "/w=="}, "immutable": false})
    );
}

#[test]
fn values_are_written_as_kubernetes_writes_them() {
    let seconds = [8, 1];
    let both = [8, 1, 16, 0xe0, 0xf3, 0xd0, 0x05];
    let cases = [
        // What is not set is not there, and what may be empty is.
        (
            "coordination.k8s.io",
            "LeaseSpec",
            vec![16, 0, 40, 3],
            json!({"leaseDurationSeconds": 0, "leaseTransitions": 3}),
        ),
        ("meta", "ObjectMeta", vec![56, 0], json!({})),
        (
            "meta",
            "ObjectMeta",
            part(8, &seconds),
            json!({"creationTimestamp": "1970-01-01T00:00:01Z"}),
        ),
        (
            "coordination.k8s.io",
            "LeaseSpec",
            part(3, &both),
            json!({"acquireTime": "1970-01-01T00:00:01.011811Z"}),
        ),
        (
            "networking.k8s.io",
            "NetworkPolicyPort",
            part(2, &[8, 0, 16, 80, 26, 0]),
            json!({"port": 80}),
        ),
        (
            "networking.k8s.io",
            "NetworkPolicyPort",
            part(2, &[8, 1, 16, 0, 26, 1, b'a']),
            json!({"port": "a"}),
        ),
        // A part that stands there in two pieces is one, and the fields of some parts stand among others.
        (
            "",
            "Secret",
            [part(1, &part(1, b"a")), part(1, &part(3, b"n"))].concat(),
            json!({"metadata": {"name": "a", "namespace": "n"}}),
        ),
        (
            "",
            "Volume",
            parts(&[(1, b"v"), (2, &part(8, &part(2, b"c")))]),
            json!({"name": "v", "iscsi": {"iqn": "c"}}),
        ),
    ];
    for (group, kind, raw, expected) in cases {
        assert_eq!(read(group, kind, &raw), Ok(expected), "{kind}");
    }
}

#[test]
fn a_choice_stands_for_what_it_holds() {
    // Field 30 needs a key of two bytes.
    let more = |choice: &[u8]| {
        [
            &[0xf2, 0x01, u8::try_from(choice.len()).expect("short")],
            choice,
        ]
        .concat()
    };
    for (choice, expected) in [
        (&[8, 0][..], json!(false)),
        (&[8, 1], json!(true)),
        (&[8, 1, 18, 3, 42, 1, b's'], json!({"type": "s"})),
    ] {
        let read = read("apiextensions.k8s.io", "JSONSchemaProps", &more(choice));
        assert_eq!(read, Ok(json!({"additionalProperties": expected})));
    }
}

#[test]
fn refusals_name_the_field() {
    let name = |name: &[u8]| part(1, &part(1, name));
    let managers = part(1, &[0x8a, 0x01, 4, 58, 2, 10, 0].map(|byte| byte));
    assert!(read("", "ConfigMap", &managers).is_ok());
    for (raw, why) in [
        (
            name(b"\xff"),
            "the body is no ConfigMap: metadata.name: invalid utf-8",
        ),
        (vec![10], "ends in the middle"),
        (vec![8, 1], "metadata: it must have a length"),
        (
            part(4, b""),
            "immutable: it must be a number of variable length",
        ),
        (part(3, &parts(&[(1, b"k")])[..2]), "binaryData: it ends"),
        (
            part(
                1,
                &part(8, &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            ),
            "metadata.creationTimestamp",
        ),
    ] {
        let refused = read("", "ConfigMap", &raw).expect_err("refused");
        assert!(refused.contains(why), "{refused}");
    }
    let other = document("", "ConfigMap", &body("v1", "Secret", b"")).expect_err("another kind");
    assert!(other.message.contains("said to be a Secret"), "{other}");
    for bytes in [&b""[..], b"k8s", b"{}", b"k8s\0\x1a\x04gzip"] {
        assert!(document("", "ConfigMap", bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn nesting_has_an_end() {
    let deep = |levels: usize| {
        (0..levels).fold(Vec::new(), |inner, _| {
            // `not`, number 28.
            let length = part(1, &inner).split_off(1);
            [&[0xe2, 0x01][..], &length].concat()
        })
    };
    let schema = |levels| read("apiextensions.k8s.io", "JSONSchemaProps", &deep(levels));
    assert!(schema(DEPTH_MAX - 1).is_ok());
    let refused = schema(DEPTH_MAX).expect_err("too deep");
    assert!(refused.contains("more than 127 deep"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_are_too_much(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        for (group, kind) in [("", "Pod"), ("", "Event"), ("apiextensions.k8s.io", "CustomResourceDefinition")] {
            let _ = document(group, kind, &raw);
            let _ = document(group, kind, &body("v1", kind, &raw));
        }
    }

    /// Close to what a client sends, so that it is followed far.
    #[test]
    fn no_change_of_a_good_body_is_too_much(place in 0_usize..1000, byte in any::<u8>(), cut in 0_usize..1000) {
        let time = part(8, &[8, 0xb9, 0x60, 16, 5]);
        let metadata = [parts(&[(1, b"a"), (3, b"n"), (11, &parts(&[(1, b"l"), (2, b"x")]))]), time].concat();
        let container = parts(&[(1, b"c"), (6, &part(2, &[24, 80, 16, 0])), (8, &part(1, &parts(&[(1, b"cpu"), (2, &part(1, b"1"))])))]);
        let spec = parts(&[(1, &parts(&[(1, b"v"), (2, &part(2, b""))])), (2, &container)]);
        let mut body = body("v1", "Pod", &parts(&[(1, &metadata), (2, &spec)]));
        let place = place % body.len();
        body[place] = byte;
        body.truncate(body.len() - cut % 3);
        let _ = document("", "Pod", &body);
    }
}

#[test]
fn every_built_in_kind_has_a_form() {
    let written = |it: &Resource| it.traits.offered != Offered::Reading;
    for resource in crate::builtin::resources().into_iter().filter(written) {
        assert!(has_form(&resource), "{}", resource.qualified());
    }
}
