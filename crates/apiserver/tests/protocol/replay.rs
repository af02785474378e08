//! What real clients asked of a real server is answered here with the same code and type (`tests/requests`).

use apiserver::Server;

use crate::recorded;

#[tokio::test]
async fn requests_of_real_clients_are_answered_as_they_were() {
    let definitions = recorded::definitions().into_iter();
    let definitions = definitions.map(|it| serde_json::from_value(it).expect("a definition"));
    let client = Server::in_memory(definitions.collect()).client();
    recorded::set(&client).await;
    let mut differences = Vec::new();
    for shape in recorded::shapes() {
        let answer = recorded::ask(&client, &shape).await;
        let expected = shape.spoken(&shape.answer_type);
        if (answer.code, answer.content_type.as_str()) != (shape.code, expected) {
            differences.push(format!("{shape:?}\n{answer:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}
