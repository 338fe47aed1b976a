//! When a flow applies what is captured: at once, collected, or at its times.

use crate::stage::Stage;

fn mode(stage: &Stage, lines: &str) {
    stage.configure("to = [\"erp\"]", &format!("to = [\"erp\"]\n{lines}"));
}

#[test]
fn a_batched_flow_applies_what_was_collected_together() {
    let stage = Stage::new();
    mode(&stage, "mode = \"batched\"\nevery = \"2s\"\nmax = 500");
    let runtime = stage.run();
    for n in 0..40 {
        stage.put(&format!("A{:02}", n % 20), n);
    }
    stage.until("what is collected is shown", || {
        let flow = stage.status()["flows"][0].clone();
        flow["state"] == "behind"
            && flow["reason"]
                .as_str()
                .unwrap_or_default()
                .contains("collected")
    });
    assert!(stage.partners().is_empty(), "it did not wait");
    stage.until_equal();
    assert_eq!(
        stage.writes().len(),
        20,
        "a record was written for each of its changes"
    );
    // Up to the number nobody waits for the time.
    assert_eq!(runtime.stop(), 0);
    stage.configure("every = \"2s\"", "every = \"1h\"");
    stage.configure("max = 500", "max = 30");
    let runtime = stage.run();
    for n in 0..30 {
        stage.put(&format!("B{n:02}"), n);
    }
    stage.until_equal();
    // A stop in between loses nothing: it is in the log.
    stage.put("C", 1);
    assert_eq!(runtime.stop(), 0);
    stage.configure("every = \"1h\"", "every = \"1s\"");
    let _runtime = stage.run();
    stage.until_equal();
}

#[test]
fn a_scheduled_flow_applies_at_its_times_all_that_is_there() {
    let stage = Stage::new();
    stage.put("A", 1);
    mode(&stage, "mode = \"scheduled\"\nevery = \"3s\"");
    let runtime = stage.run();
    stage.until_equal();
    stage.put("B", 1);
    stage.put("C", 1);
    stage.until("status says when", || {
        let flow = stage.status()["flows"][0].clone();
        flow["state"] == "behind"
            && flow["reason"]
                .as_str()
                .unwrap_or_default()
                .contains("applied next at")
    });
    stage.until_equal();
    stage.until("it rests", || stage.state() == "idle");
    assert_eq!(runtime.stop(), 0);

    // A time that is far away: nothing is applied, and nobody calls that a failure.
    stage.configure(
        "every = \"3s\"",
        "cron = \"0 0 29 2 *\"\nzone = \"Europe/Berlin\"",
    );
    let _runtime = stage.run();
    stage.put("D", 1);
    stage.until("it waits for its time", || {
        stage.status()["flows"][0]["reason"]
            .as_str()
            .unwrap_or_default()
            .contains("-02-2")
    });
    assert_eq!(stage.partners().len(), 3);
    assert_eq!(stage.lockstep(&["status"]).status.code(), Some(0));
}

#[test]
fn a_mode_that_cannot_be_is_refused_with_its_line() {
    for (lines, word) in [
        ("mode = \"batched\"", "for how long"),
        ("mode = \"scheduled\"", "`every` or `cron`"),
        ("mode = \"scheduled\"\ncron = \"0 25 * * *\"", "no hour"),
        (
            "mode = \"scheduled\"\ncron = \"0 2 * * *\"\nzone = \"Europe/Nowhere\"",
            "no time zone",
        ),
        ("every = \"2s\"", "says nothing"),
        ("mode = \"sometimes\"", "sometimes"),
    ] {
        let stage = Stage::new();
        mode(&stage, lines);
        let output = stage.lockstep(&["check"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_ne!(output.status.code(), Some(0), "{lines}");
        assert!(
            text.contains(word) && text.contains("lockstep.toml:"),
            "{lines}: {text}"
        );
    }
}
