//! What expressions may do, and what they may not.

use kube::core::cel::cel::{Context, Value};

use super::{Budget, Program, Spent, functions};

/// The value of an expression about a list of so many numbers and a text of so many letters.
fn evaluated(
    text: &str,
    numbers: i64,
    letters: usize,
    budget: &mut Budget,
) -> Result<Value, Spent> {
    let program = Program::compile(text).expect(text);
    let mut context: Context<'_> = functions();
    let list: Vec<Value> = (0..numbers).map(Value::Int).collect();
    context.add_variable_from_value("numbers", Value::List(list.into()));
    context.add_variable_from_value("text", Value::String("a".repeat(letters).into()));
    let value = program.evaluate(&context, budget)?;
    Ok(value.unwrap_or_else(|error| panic!("{text}: {error}")))
}

#[test]
fn the_rounds_of_loops_are_counted() {
    let cases = [
        ("numbers.all(x, x >= 0)", 10_000, Ok(true)),
        (
            "numbers.all(x, numbers.all(y, x <= y || y < x))",
            100,
            Ok(true),
        ),
        // It ends in the first round.
        ("numbers.exists(x, numbers.all(y, y >= x))", 5_000, Ok(true)),
        (
            "numbers.all(x, numbers.all(y, x != y || true))",
            1_000,
            Err(Spent::Call),
        ),
        // That the loops are about something else does not help.
        (
            "numbers.map(x, x).all(x, numbers.map(x, x).all(y, y >= 0))",
            1_000,
            Err(Spent::Call),
        ),
        (
            "!numbers.all(x, !numbers.exists(y, y < 0) && x < 0 || true)",
            2_000,
            Err(Spent::Call),
        ),
    ];
    for (text, numbers, expected) in cases {
        let value = evaluated(text, numbers, 0, &mut Budget::default());
        assert_eq!(value, expected.map(Value::Bool), "{text}");
    }
}

#[test]
fn all_expressions_about_an_object_share_a_budget() {
    let mut budget = Budget::of(3_000_000);
    let text = "numbers.all(x, numbers.all(y, x <= y || y < x))";
    let mut times = 0;
    let spent = loop {
        match evaluated(text, 200, 0, &mut budget) {
            Ok(value) => assert_eq!(value, Value::Bool(true)),
            Err(spent) => break spent,
        }
        times += 1;
    };
    assert_eq!(spent, Spent::Object);
    assert!(times > 5, "{times}");
    assert_eq!(evaluated("1 == 1", 0, 0, &mut budget), Err(Spent::Object));
}

#[test]
fn values_do_not_grow_without_end() {
    let doubled = "[text].map(a, a + a).map(b, b + b).map(c, c + c).map(d, d + d)[0].size() > 0";
    for (text, letters, expected) in [
        (doubled, 1_000, Ok(Value::Bool(true))),
        (doubled, 1_000_000, Err(Spent::Call)),
        (
            "text.replace('a', text).size() > 0",
            10_000,
            Err(Spent::Call),
        ),
        (
            "text.replace('a', text, 1).size() == 19999",
            10_000,
            Ok(Value::Bool(true)),
        ),
        (
            "[text, text].join(text).size() == 3000",
            1_000,
            Ok(Value::Bool(true)),
        ),
        (
            "numbers.map(x, text).join('').size() > 0",
            1_000_000,
            Err(Spent::Call),
        ),
        ("['a', 'b'].join() == 'ab'", 0, Ok(Value::Bool(true))),
        (
            "[text].map(a, [a, a, a, a]).map(b, '%s'.format([b])).size() > 0",
            3_000_000,
            Err(Spent::Call),
        ),
        (
            "[text].map(a, {'a': a, 'b': a, 'c': a, 'd': a, 'e': a, 'f': a}).size() == 1",
            3_000_000,
            Err(Spent::Call),
        ),
        (
            "'%s-%d'.format(['a', 1]) == 'a-1'",
            0,
            Ok(Value::Bool(true)),
        ),
        (
            "'%.999999999f'.format([1.0]).size() > 0",
            0,
            Err(Spent::Call),
        ),
        ("'%.2f'.format([1.0]) == '1.00'", 0, Ok(Value::Bool(true))),
        (
            "[optional.of(text), optional.of(text), optional.of(text), optional.of(text), optional.of(text), optional.of(text)].size() == 6",
            3_000_000,
            Err(Spent::Call),
        ),
        (
            "[{text: 1}, {text: 2}, {text: 3}, {text: 4}, {text: 5}, {text: 6}].size() == 6",
            3_000_000,
            Err(Spent::Call),
        ),
        ("text.findAll('.').size() > 0", 3_000_000, Err(Spent::Call)),
        ("text.split('').size() > 0", 3_000_000, Err(Spent::Call)),
        (
            "text.split('a').size() == 1001",
            1_000,
            Ok(Value::Bool(true)),
        ),
        ("base64.encode(b'hi') == 'aGk='", 0, Ok(Value::Bool(true))),
        ("lists.range(3) == [0, 1, 2]", 0, Ok(Value::Bool(true))),
        ("lists.range(1000000000).size() > 0", 0, Err(Spent::Call)),
        (
            "text.replace('a', 'bb').size() == 4",
            2,
            Ok(Value::Bool(true)),
        ),
        (
            "'a-b-c'.replace('-', '', 1) == 'ab-c'",
            0,
            Ok(Value::Bool(true)),
        ),
        (
            "'a-b-c'.replace('-', '', -1) == 'abc'",
            0,
            Ok(Value::Bool(true)),
        ),
    ] {
        let value = evaluated(text, 100, letters, &mut Budget::default());
        assert_eq!(value, expected, "{text} {letters}");
    }
}

#[test]
fn sums_are_what_they_were() {
    for text in [
        "1 + 2 == 3",
        "1.5 + 2.0 == 3.5",
        "'a' + 'b' == 'ab'",
        "[1] + [2] == [1, 2]",
        "b'a' + b'b' == b'ab'",
        "duration('1s') + duration('1m') == duration('61s')",
        "timestamp('2026-01-01T00:00:00Z') + duration('1s') == timestamp('2026-01-01T00:00:01Z')",
        "[1, 2].map(x, x + 1) == [2, 3]",
        "[1, 2].filter(x, x + 1 > 2) == [2]",
    ] {
        let value = evaluated(text, 0, 0, &mut Budget::default());
        assert_eq!(value, Ok(Value::Bool(true)), "{text}");
    }
}

#[test]
fn types_have_names() {
    for text in [
        "type(1) == int",
        "type('a') == string",
        "type([1]) == list",
        "type(null) == null_type",
        "type(1.0) != int",
    ] {
        let value = evaluated(text, 0, 0, &mut Budget::default());
        assert_eq!(value, Ok(Value::Bool(true)), "{text}");
    }
}

#[test]
fn only_what_an_expression_does_not_define_is_asked_for() {
    let program = Program::compile("a.all(x, x.y > b) && math.least(c, 1) > 0").expect("CEL");
    let names: Vec<&str> = program.variables().iter().map(String::as_str).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let refused = Program::compile("Message{a: 1}.a == 1").expect_err("no messages");
    assert!(refused.contains("Message"), "{refused}");
}

#[test]
fn what_compares_all_with_all_pays_for_it() {
    for (text, numbers, letters, expected) in [
        (
            "numbers.distinct().size() == 20",
            20,
            0,
            Ok(Value::Bool(true)),
        ),
        (
            "numbers.distinct().size() > 0",
            100_000,
            0,
            Err(Spent::Call),
        ),
        (
            "sets.contains(numbers, [1, 2])",
            20,
            0,
            Ok(Value::Bool(true)),
        ),
        (
            "sets.equivalent(numbers, numbers)",
            10_000,
            0,
            Err(Spent::Call),
        ),
        ("text.matches('^a+$')", 0, 200, Ok(Value::Bool(true))),
        (
            "text.indexOf(text + 'b') == -1",
            0,
            100,
            Ok(Value::Bool(true)),
        ),
        (
            "text.indexOf(text + 'b') == -1",
            0,
            100_000,
            Err(Spent::Call),
        ),
        ("numbers.indexOf(3) == 3", 20, 0, Ok(Value::Bool(true))),
    ] {
        let value = evaluated(text, numbers, letters, &mut Budget::default());
        assert_eq!(value, expected, "{text}");
    }
}

#[test]
fn what_the_library_panics_over_has_no_value() {
    let context = functions();
    for text in [
        "bytes('a').contains(bytes(''))",
        "format.datetime().value().validate('2026-01-01T00:00:0\u{e9}Z').hasValue()",
    ] {
        let program = Program::compile(text).expect(text);
        let evaluated = program.evaluate(&context, &mut Budget::default());
        evaluated.expect("it cost little").ok();
    }
}

#[test]
fn letters_are_counted() {
    let value = evaluated(
        "'\u{e9}\u{e9}'.size() == 2 && size(b'ab') == 2 && size({'a': 1}) == 1",
        0,
        0,
        &mut Budget::default(),
    );
    assert_eq!(value, Ok(Value::Bool(true)));
}

#[test]
fn what_goes_too_deep_is_refused_before() {
    for text in ["1 in ".repeat(1_000) + "[1]", "1in ".repeat(1_000) + "[1]"] {
        let refused = Program::compile(&text).expect_err("it would need too much room");
        assert!(refused.contains("operators"), "{refused}");
    }
    let most = "1 in ".repeat(200) + "[1]";
    let program = Program::compile(&most).expect("it is just short enough");
    let evaluated = program.evaluate(&functions(), &mut Budget::default());
    evaluated
        .expect("it costs little")
        .expect_err("a number is in no truth");
}

#[test]
fn patterns_are_bounded() {
    let context = functions();
    for text in ["'a'.matches('[ab]{20000}')", "'a'.matches('(')"] {
        let program = Program::compile(text).expect(text);
        let evaluated = program.evaluate(&context, &mut Budget::default());
        evaluated.expect("it costs little").expect_err(text);
    }
}
