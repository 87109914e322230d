use serde_json::json;

use super::*;
use crate::text::tokenizer_tests::with_tokens;

/// Special tokens, others that are added, the template, and which of them end a turn.
type Case = (&'static [&'static str], &'static [&'static str], &'static str, &'static [&'static str]);

const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
const HARMONY: &str = "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}\
                       {% if loop.last %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}";
const GLM: &str = "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}";

const TABLE: &[Case] = &[
    // By their text, whatever the template.
    (&["<|im_start|>", "<|im_end|>"], &[], "", &["<|im_end|>"]),
    (&[], &["<|im_start|>", "<|im_end|>"], CHATML, &["<|im_end|>"]),
    (
        &["<|begin_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"],
        &[],
        "",
        &["<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"],
    ),
    (&["<|eot|>", "<|eom|>", "<|header_start|>"], &[], "", &["<|eot|>", "<|eom|>"]),
    (&["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], &["</s>", "\n\n"], "", &["<eos>", "<end_of_turn>"]),
    (&["<|turn>", "<turn|>"], &[], "", &["<turn|>"]),
    (&["<s>", "</s>"], &[], "", &["</s>"]),
    (&["<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"], &[], "", &["<|END_OF_TURN_TOKEN|>"]),
    (&["[|assistant|]", "[|endofturn|]"], &[], "", &["[|endofturn|]"]),
    (&["<|endoftext|>", "<|fim_prefix|>"], &[], "", &["<|endoftext|>"]),
    (&["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>"], &[], "", &["<｜end▁of▁sentence｜>"]),
    // Phi's ends a turn, gpt-oss's a message, even where the template writes it behind an answer.
    (&["<|user|>", "<|assistant|>", "<|end|>"], &[], "", &["<|end|>"]),
    (&["<|start|>", "<|end|>", "<|message|>", "<|return|>", "<|call|>"], &[], HARMONY, &["<|return|>", "<|call|>"]),
    (&["<|end|>", "<|flush|>", "<|calls|>"], &[], "", &["<|flush|>", "<|calls|>"]),
    // GLM goes on with the next role.
    (&["<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"], &[], GLM, &["<|user|>", "<|observation|>"]),
    // What only the template tells.
    (
        &["<turn_start>", "<turn_stop>"],
        &[],
        "{% for m in messages %}<turn_start>{{ m.content }}  <turn_stop>{% endfor %}",
        &["<turn_stop>"],
    ),
    (&[], &["<stop>"], "{% for m in messages %}{{ m.content }}\n\n<stop>{% endfor %}", &["<stop>"]),
    (&["<next>"], &[], "{% for m in messages %}<next>{{ m.content }}{% endfor %}", &["<next>"]),
    (&["<x>"], &[], "{% for m in messages %}{{ m.content }} and <x>{% endfor %}", &[]),
    (&["<x>"], &[], "{{ raise_exception('no') }}<x>", &[]),
    (&["<x>"], &[], "{% for m in messages %}{{ m.role }}<x>{% endfor %}", &[]),
    (
        &["<x>", "<y>"],
        &[],
        "{% for m in messages %}{% if m.role == 'user' and not loop.first %}{{ raise_exception('one turn') }}{% endif %}{{ m.content }}<y>{% endfor %}",
        &["<y>"],
    ),
    // Words of the text that only look so.
    (&[], &[], CHATML, &[]),
    (&[], &["</s>", "<eos>", "<|end|>", "<|user|>", "<|assistant|>", "<|observation|>"], "", &[]),
];

#[test]
fn known_ends_and_those_of_the_template_are_found() {
    for (special, plain, source, expected) in TABLE {
        let tokenizer = with_tokens(special, plain);
        let template = ChatTemplate::from_config(&json!({ "chat_template": source })).unwrap();
        let mut ids = BTreeSet::new();
        join_ends(&mut ids, &tokenizer, template.as_ref());
        let texts: BTreeSet<String> = ids.iter().map(|id| tokenizer.token(*id).unwrap()).collect();
        assert_eq!(texts, expected.iter().map(ToString::to_string).collect(), "{special:?} {plain:?} {source}");
    }
}

/// What a config names stays, but for the end of a message.
#[test]
fn ids_of_the_configs_are_joined() {
    let tokenizer = with_tokens(&["<|end|>", "<|return|>", "<|call|>"], &[]);
    let id = |text: &str| tokenizer.id(text).unwrap();
    let mut ids = BTreeSet::from([7, id("<|end|>")]);
    join_ends(&mut ids, &tokenizer, None);
    assert_eq!(ids, BTreeSet::from([7, id("<|return|>"), id("<|call|>")]));
}
