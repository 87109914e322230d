//! Documents in the order of how well they answer a query.

use serde_json::{Value, json};

use super::Server;
use super::tools::server;

const SYSTEM: &str = "Judge whether the Document meets the requirements based on the Query and the Instruct provided. \
    Note that the answer can only be \"yes\" or \"no\".";

/// How likely the last of these ids is behind the others.
fn last_logprob(server: &Server, ids: &[Value]) -> f64 {
    let asked = json!({ "prompt": ids, "max_tokens": 0, "echo": true, "logprobs": 1 });
    let (status, all) = server.post("/v1/completions", &asked);
    assert_eq!(status, 200, "{all}");
    let told = all["choices"][0]["logprobs"]["token_logprobs"].as_array().expect("a list");
    told.last().and_then(Value::as_f64).expect("a number")
}

fn ids(server: &Server, asked: &Value) -> Vec<Value> {
    let (status, all) = server.post("/tokenize", asked);
    assert_eq!(status, 200, "{all}");
    all["tokens"].as_array().expect("ids").clone()
}

#[test]
fn documents_stand_in_the_order_of_how_likely_yes_is() {
    let server = server();
    let documents = ["the thing is a tile", "hello", "a longer question about tiles", "hello"];
    let expected = documents.map(|document| {
        let user = format!("<Instruct>: find it\n<Query>: tiles?\n<Document>: {document}");
        let messages = json!([{ "role": "system", "content": SYSTEM }, { "role": "user", "content": user }]);
        let prompt = ids(&server, &json!({ "messages": messages }));
        let [yes, no] = ["yes", "no"].map(|word| {
            let first = ids(&server, &json!({ "content": word, "add_special": false }))[0].clone();
            last_logprob(&server, &[&prompt[..], &[first]].concat())
        });
        yes.exp() / (yes.exp() + no.exp())
    });
    let asked =
        json!({ "query": "tiles?", "instruction": "find it", "documents": documents, "return_documents": true });
    let (status, all) = server.post("/v1/rerank", &asked);
    assert_eq!(status, 200, "{all}");
    let results = all["results"].as_array().expect("a list");
    let index = |result: &Value| result["index"].as_u64().expect("an index") as usize;
    let score = |result: &Value| result["relevance_score"].as_f64().expect("a number");
    assert_eq!(results.len(), 4, "{all}");
    for result in results {
        let (index, score) = (index(result), score(result));
        assert!((score - expected[index]).abs() < 1e-6, "{index}: {score} {}", expected[index]);
        assert_eq!(result["document"]["text"], documents[index]);
    }
    assert!(results.windows(2).all(|pair| score(&pair[0]) >= score(&pair[1])), "{all}");
    let twins: Vec<usize> = results.iter().map(index).filter(|index| index % 2 == 1).collect();
    assert_eq!(twins, [1, 3], "the same text has the same score, and keeps its place");
    assert!(score(&results[0]) > score(&results[3]) && all["usage"]["prompt_tokens"].as_u64() > Some(100), "{all}");
    // Documents may come as objects, and only the best be told.
    let objects = documents.map(|text| json!({ "text": text }));
    let asked = json!({ "query": "tiles?", "instruction": "find it", "documents": objects, "top_n": 1 });
    let best = server.post("/rerank", &asked).1;
    let told = json!([{ "index": results[0]["index"], "relevance_score": results[0]["relevance_score"] }]);
    assert_eq!(best["results"], told);
    for (asked, says) in [
        (json!({ "query": "a", "documents": [] }), "documents"),
        (json!({ "query": "a", "documents": [7] }), "must be a text"),
        (json!({ "documents": ["a"] }), "query"),
        (json!({ "query": "a", "documents": ["a ".repeat(5000)] }), "context"),
    ] {
        let (status, all) = server.post("/v1/rerank", &asked);
        assert!(status == 400 && all.to_string().contains(says), "{status}: {all}");
    }
}
