//! What real clients were seen to ask (`tests/requests`) of both servers: code, type and kinds of the answers, and how the
//! initial events of a watch end.
//!
//! On purpose otherwise: who accepts JSON beside protobuf gets JSON, and the index of OpenAPI is called JSON.

use crate::pair::Pair;
use crate::recorded;

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_real_clients_are_answered_alike() {
    let Some(pair) = Pair::new(&recorded::definitions()).await else {
        return;
    };
    let [real, ours] = pair.clients();
    tokio::join!(recorded::set(real), recorded::set(ours));
    let mut differences = Vec::new();
    for shape in recorded::shapes() {
        let (mut expected, found) =
            tokio::join!(recorded::ask(real, &shape), recorded::ask(ours, &shape));
        let seen = (shape.code, shape.answer_type.as_str());
        let again = (expected.code, expected.content_type.as_str());
        assert_eq!(
            again, seen,
            "{shape:?} is not asked as it was: {expected:?}"
        );
        expected.content_type = shape.spoken(&expected.content_type).to_owned();
        if found != expected {
            let difference = format!("{shape:?}\nkube-apiserver {expected:?}\ngroma {found:?}");
            differences.push(difference);
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}
