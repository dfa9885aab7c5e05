//! `/docs`: the contract as a page. Rendered here from the OpenAPI description into plain HTML: no script, nothing
//! from elsewhere, so that it works without internet and under the strictest content security policy.

use serde_json::Value;
use std::fmt::Write as _;

/// The page's style sheet, served beside it.
pub(crate) const STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
body{max-width:60rem;margin:0 auto;padding:1rem;overflow-wrap:anywhere}\
h1{font-size:1.6rem}h2{margin-top:2.5rem;border-bottom:1px solid #8886}h3{font-size:1rem;margin:1.8rem 0 .3rem}\
code,.path{font-family:ui-monospace,monospace;font-size:.9rem}\
.method{display:inline-block;min-width:4rem;font-weight:700}\
table{border-collapse:collapse;width:100%;margin:.5rem 0;font-size:.9rem}\
th,td{text-align:left;vertical-align:top;padding:.25rem .5rem;border-bottom:1px solid #8884;overflow-wrap:normal}\
nav a{display:inline-block;margin-right:1rem}\
@media (max-width:44rem){\
thead{display:none}tr{display:block;padding:.35rem 0;border-bottom:1px solid #8884}\
td{display:inline;padding:0 .6rem 0 0;border:0;overflow-wrap:anywhere}td:last-child{display:block}td:empty{display:none}}\
:target{scroll-margin-top:1rem;outline:2px solid #4a7dff}";

/// The page of a description.
pub(crate) fn render(api: &Value) -> String {
    let mut page = String::with_capacity(64 * 1024);
    page.push_str("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">");
    page.push_str("<title>Agent Tally API</title><link rel=\"stylesheet\" href=\"/docs/style.css\"></head><body>");
    let info = &api["info"];
    write(&mut page, format_args!("<h1>{} API</h1><p>{}</p>", escaped(&info["title"]), prose(&info["description"])));
    page.push_str("<p>For programs: <a href=\"/api/v1/openapi.json\">openapi.json</a></p><nav>");
    let tags = api["tags"].as_array().map_or(&[][..], Vec::as_slice);
    for tag in tags {
        write(&mut page, format_args!("<a href=\"#tag-{0}\">{0}</a>", escaped(&tag["name"])));
    }
    page.push_str("<a href=\"#schemas\">schemas</a></nav>");
    for tag in tags {
        write(&mut page, format_args!("<h2 id=\"tag-{0}\">{0}</h2><p>{1}</p>", escaped(&tag["name"]), prose(&tag["description"])));
        for (path, item) in entries(&api["paths"]) {
            for (method, operation) in entries(item) {
                if operation["tags"].as_array().is_some_and(|tags| tags.contains(&tag["name"])) {
                    render_operation(&mut page, path, method, operation);
                }
            }
        }
    }
    page.push_str("<h2 id=\"schemas\">schemas</h2>");
    for (name, schema) in entries(&api["components"]["schemas"]) {
        render_schema(&mut page, name, schema);
    }
    page.push_str("</body></html>");
    page
}

fn render_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    let id = escaped(&operation["operationId"]);
    let (method, path) = (escape(&method.to_uppercase()), escape(path));
    write(page, format_args!("<h3 id=\"{id}\"><span class=\"method\">{method}</span> <span class=\"path\">{path}</span></h3>"));
    write(page, format_args!("<p>{}</p>", prose(&operation["summary"])));
    if !operation["description"].is_null() {
        write(page, format_args!("<p>{}</p>", prose(&operation["description"])));
    }
    if let Some(parameters) = operation["parameters"].as_array().filter(|p| !p.is_empty()) {
        page.push_str("<table><thead><tr><th>Parameter</th><th>In</th><th>Type</th><th></th></tr></thead><tbody>");
        for parameter in parameters {
            let required = if parameter["required"] == true { " (required)" } else { "" };
            write(
                page,
                format_args!(
                    "<tr><td><code>{}</code>{required}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                    escaped(&parameter["name"]),
                    escaped(&parameter["in"]),
                    type_of(&parameter["schema"]),
                    prose(&parameter["description"])
                ),
            );
        }
        page.push_str("</tbody></table>");
    }
    for (media, content) in entries(&operation["requestBody"]["content"]) {
        write(page, format_args!("<p>Body: {} as <code>{}</code></p>", type_of(&content["schema"]), escape(media)));
    }
    if operation["requestBody"]["description"].is_string() {
        write(page, format_args!("<p>{}</p>", prose(&operation["requestBody"]["description"])));
    }
    page.push_str("<table><thead><tr><th>Answer</th><th>Body</th><th></th></tr></thead><tbody>");
    for (status, response) in entries(&operation["responses"]) {
        let bodies: Vec<String> = entries(&response["content"]).map(|(_, content)| type_of(&content["schema"])).collect();
        write(
            page,
            format_args!("<tr><td>{}</td><td>{}</td><td>{}</td></tr>", escape(status), bodies.join(", "), prose(&response["description"])),
        );
    }
    page.push_str("</tbody></table>");
}

fn render_schema(page: &mut String, name: &str, schema: &Value) {
    write(page, format_args!("<h3 id=\"schema-{0}\"><code>{0}</code></h3><p>{1}</p>", escape(name), prose(&schema["description"])));
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    let mut fields = entries(&schema["properties"]).peekable();
    if fields.peek().is_none() {
        write(page, format_args!("<p>{}</p>", type_of(schema)));
        return;
    }
    page.push_str("<table><thead><tr><th>Field</th><th>Type</th><th></th></tr></thead><tbody>");
    for (field, property) in fields {
        let optional = if required.iter().any(|r| r == field) { "" } else { " (optional)" };
        write(
            page,
            format_args!(
                "<tr><td><code>{}</code>{optional}</td><td>{}</td><td>{}</td></tr>",
                escape(field),
                type_of(property),
                prose(&property["description"])
            ),
        );
    }
    page.push_str("</tbody></table>");
}

/// A schema in a few words, with links.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escape(name));
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(parts) = schema[several].as_array() {
            return parts.iter().map(type_of).collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(names) = schema["enum"].as_array() {
        return names.iter().map(|n| format!("<code>{}</code>", escaped(n))).collect::<Vec<_>>().join(" ");
    }
    let kind = match &schema["type"] {
        Value::String(kind) => escape(kind),
        Value::Array(kinds) => kinds.iter().map(escaped).collect::<Vec<_>>().join(" or "),
        _ => "any".into(),
    };
    if kind == "array" {
        return format!("array of {}", type_of(&schema["items"]));
    }
    match schema["format"].as_str() {
        Some(format) if !format.starts_with("int") && format != "double" => format!("{kind} ({})", escape(format)),
        _ => kind,
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v))
}

/// Escaped text with `code` in backticks.
fn prose(text: &Value) -> String {
    let mut html = String::new();
    for (i, part) in escaped(text).split('`').enumerate() {
        if i % 2 == 1 {
            write(&mut html, format_args!("<code>{part}</code>"));
        } else {
            html.push_str(part);
        }
    }
    html
}

fn escaped(text: &Value) -> String {
    escape(text.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn write(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_out_of_the_page() {
        let api = serde_json::json!({"info": {"title": "<script>", "description": "`a<b`"}, "tags": [], "paths": {}});
        let page = render(&api);
        assert!(page.contains("&lt;script&gt;") && page.contains("<code>a&lt;b</code>") && !page.contains("<script"));
    }
}
