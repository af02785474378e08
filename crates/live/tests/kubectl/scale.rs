//! Scaling by kubectl, which asks for and writes the scale of an object and nothing else of it.

use crate::place::each;
use crate::widget::widget;

#[test]
fn scale_changes_the_number_that_the_definition_names() {
    each(|place| {
        place.apply(&widget("gear", "{size: 3, colour: red}"));
        assert_eq!(
            place.ok("scale widget gear --replicas=5"),
            "widget.test.groma.dev/gear scaled\n"
        );
        assert_eq!(
            place.ok("get widget gear -o jsonpath={.spec}"),
            r#"{"colour":"red","size":5}"#
        );
        let shown =
            place.ok("get widget gear --subresource=scale -o jsonpath={.kind}/{.spec.replicas}");
        assert_eq!(shown, "Scale/5");
        let said = place.refused("scale widget gear --current-replicas=4 --replicas=6");
        assert!(said.contains("Expected replicas to be 4, was 5"), "{said}");
        assert!(
            place
                .refused("scale widget gear --replicas=0")
                .contains("spec.size"),
            "the schema holds for scales, too"
        );
    });
}
