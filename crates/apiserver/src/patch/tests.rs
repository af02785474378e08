//! Patches as clients send them.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::operations::MOVED_BYTES_MAX;
use super::{APPLY, JSON, MERGE, OPERATIONS_MAX, Patch, STRATEGIC};
use crate::failure::Failure;
use crate::object::DEPTH_MAX;
use crate::query::FieldValidation;
use crate::registry::Registry;

fn apply(content_type: &str, old: Value, patch: &Value) -> Result<Value, Failure> {
    let registry = Registry::new(&[]).expect("the built-in resources");
    let maps = registry.get("", "configmaps").expect("they are built in");
    let mut headers = HeaderMap::new();
    headers.insert("content-type", content_type.parse().expect("a header"));
    let body = Bytes::from(patch.to_string());
    let (patch, _) = Patch::parse(&headers, &body, maps, FieldValidation::Strict)?;
    patch.apply(old, &maps.versions[0].shape)
}

#[test]
fn json_patches_change_places() {
    let old = json!({"data": {"a": "1", "b": "2"}});
    let patch = json!([
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "replace", "path": "/data/a", "value": "3"},
        {"op": "remove", "path": "/data/b"},
        {"op": "add", "path": "/data/c~1d", "value": "4"},
    ]);
    assert_eq!(
        apply(JSON, old.clone(), &patch),
        Ok(json!({"data": {"a": "3", "c/d": "4"}}))
    );
    let wrong = json!([{"op": "test", "path": "/data/a", "value": "9"}]);
    assert_eq!(
        apply(JSON, old.clone(), &wrong)
            .expect_err("the test fails")
            .code,
        422
    );
    let missing = json!([{"op": "remove", "path": "/data/x"}]);
    assert_eq!(
        apply(JSON, old.clone(), &missing)
            .expect_err("nothing is there")
            .code,
        422
    );
    let many = vec![json!({"op": "test", "path": "/data/a", "value": "1"}); OPERATIONS_MAX + 1];
    assert_eq!(
        apply(JSON, old, &many.into()).expect_err("too many").code,
        413
    );
}

#[test]
fn what_cannot_be_undone_is_refused_all_the_same() {
    let old = json!({"metadata": {"name": "a"}});
    let patch = json!([
        {"op": "move", "from": "/metadata/name", "path": "/metadata"},
        {"op": "test", "path": "/x", "value": 1},
    ]);
    let failure = apply(JSON, old, &patch).expect_err("the test fails");
    assert_eq!(failure.code, 422);
}

#[test]
fn what_a_patch_copies_is_bounded() {
    let half = "x".repeat(MOVED_BYTES_MAX / 2 - 2);
    let copies = |n| {
        json!(vec![
            json!({"op": "copy", "from": "/data/a", "path": "/data/b"});
            n
        ])
    };
    let old = json!({"data": {"a": half}});
    apply(JSON, old.clone(), &copies(2)).expect("twice a half");
    let failure = apply(JSON, old, &copies(3)).expect_err("more than all");
    assert_eq!(failure.code, 413);
    let doubling =
        (0..40).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/{n}")}));
    let doubling = doubling.collect::<Vec<_>>().into();
    let failure = apply(JSON, json!({"data": {"a": "1"}}), &doubling);
    let failure = failure.expect_err("it doubles each time");
    assert_eq!(failure.code, 413);
}

#[test]
fn a_patch_nests_no_deeper_than_can_be_read_back() {
    let nest = json!([
        {"op": "move", "from": "/a", "path": "/b/a"},
        {"op": "move", "from": "/b", "path": "/a"},
        {"op": "add", "path": "/b", "value": {}},
    ]);
    let nest = nest.as_array().expect("a list");
    let nested = |times: usize| {
        let patch = nest.iter().cycle().take(times * nest.len()).cloned();
        apply(
            JSON,
            json!({"a": {}, "b": {}}),
            &patch.collect::<Vec<_>>().into(),
        )
    };
    let deepest = nested(DEPTH_MAX - 3).expect("within the limit");
    serde_json::from_str::<Value>(&deepest.to_string()).expect("it can be read back");
    assert_eq!(nested(DEPTH_MAX).expect_err("too deep").code, 413);
}

#[test]
fn merge_patches_set_and_remove() {
    let old = json!({"data": {"a": "1", "b": "2"}, "list": [1, 2]});
    let patch = json!({"data": {"a": null, "c": "3"}, "list": [3]});
    assert_eq!(
        apply(MERGE, old.clone(), &patch),
        Ok(json!({"data": {"b": "2", "c": "3"}, "list": [3]}))
    );
    assert_eq!(
        apply(MERGE, old, &json!([1])).expect_err("no object").code,
        400
    );
}

#[test]
fn strategic_patches_merge_lists_by_key() {
    let old = json!({"metadata": {
        "finalizers": ["a", "b"],
        "ownerReferences": [{"uid": "1", "name": "x"}, {"uid": "2", "name": "y"}],
        "labels": {"k": "v", "l": "w"},
    }, "list": [1]});
    let cases = [
        (
            json!({"metadata": {"finalizers": ["b", "c"]}}),
            "/metadata/finalizers",
            json!(["a", "b", "c"]),
        ),
        (
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
            "/metadata/finalizers",
            json!(["b"]),
        ),
        (
            json!({"metadata": {"$setElementOrder/finalizers": ["c", "b", "a"], "finalizers": ["c"]}}),
            "/metadata/finalizers",
            json!(["c", "b", "a"]),
        ),
        (
            json!({"metadata": {"ownerReferences": [{"uid": "2", "name": "z"}, {"uid": "1", "$patch": "delete"}]}}),
            "/metadata/ownerReferences",
            json!([{"uid": "2", "name": "z"}]),
        ),
        (
            json!({"metadata": {"labels": {"$patch": "replace", "m": "1"}}}),
            "/metadata/labels",
            json!({"m": "1"}),
        ),
        (
            json!({"metadata": {"labels": {"$retainKeys": ["l"]}}}),
            "/metadata/labels",
            json!({"l": "w"}),
        ),
        (
            json!({"metadata": {"labels": {"k": null}}}),
            "/metadata/labels",
            json!({"l": "w"}),
        ),
        (json!({"list": [2]}), "/list", json!([2])),
    ];
    for (patch, place, expected) in cases {
        let patched = apply(STRATEGIC, old.clone(), &patch).expect("a patch");
        assert_eq!(patched.pointer(place), Some(&expected), "{patch}");
    }
    for bad in [
        json!({"$patch": "shred"}),
        json!({"metadata": {"ownerReferences": [{"name": "x"}]}}),
    ] {
        assert_eq!(
            apply(STRATEGIC, old.clone(), &bad)
                .expect_err("no patch")
                .code,
            400
        );
    }
}

#[test]
fn other_types_are_refused_by_name() {
    let cbor = "application/apply-patch+cbor";
    let failure = apply(cbor, json!({}), &json!({})).expect_err("not served");
    assert_eq!(failure.code, 415);
    assert!(failure.message.contains(APPLY));
    let failure = apply("application/json", json!({}), &json!({})).expect_err("no patch");
    assert!(failure.message.contains(STRATEGIC));
}
