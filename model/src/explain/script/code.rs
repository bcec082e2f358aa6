//! The source of a TorchScript file's classes, as libtorch writes it: a subset of Python, a statement a line. Of a call in it another version
//! of the net is made, which gives what the call gives beside its own answer, and adds something to it first: by that, gradients of the
//! call's value can be had.
//!
//! ```text
//! def forward(self, x):                       def mlaas_seen_0(self, mlaas_delta, x):
//!   layer4 = self.layer4                        layer4 = self.layer4
//!   _0 = (layer4).forward(x, )         -->      mlaas_at = torch.add((layer4).forward(x, ), mlaas_delta)
//!                                               _0 = mlaas_at
//!   return (fc).forward(_0, )                   return ((fc).forward(_0, ), mlaas_at)
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

/// Sources by their names in the file.
pub(super) type Sources = BTreeMap<String, String>;

/// The method that the other version of a net has beside its own.
pub(super) const SEEN: &str = "mlaas_seen_0";

/// A method of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Method {
    /// The class: `__torch__.torch.nn.modules.conv.Conv2d`.
    class: String,
    name: String,
}

/// A method's text, and where it is in its source.
#[derive(Debug)]
struct Text<'a> {
    source: &'a str,
    start: usize,
    /// What stands between the parentheses.
    parameters: &'a str,
    gives: &'a str,
    body: &'a str,
}

/// A call in a method: the bytes of the body that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    range: Range<usize>,
    /// Where its arguments begin, behind the parenthesis.
    arguments: usize,
}

/// The way to a call: through calls of the file's own methods, one in another.
pub(super) type Way = Vec<(Method, Call)>;

impl Method {
    pub(super) fn forward(class: &str) -> Self {
        Self { class: class.to_owned(), name: "forward".to_owned() }
    }

    /// The calls in it that are made whatever the image is, the last one first. None where the source is not of the kind that is understood.
    pub(super) fn calls(&self, sources: &Sources) -> Vec<Call> {
        let Some(text) = self.text(sources) else { return Vec::new() };
        let mut found: Vec<Call> = lines(text.body)
            .filter(|line| is_statement(&text.body[line.clone()]))
            .flat_map(|line| calls(text.body, line))
            .collect();
        found.sort_by_key(|call| std::cmp::Reverse(call.range.end));
        found
    }

    /// The method that a call is of, where it is one of an object of the file.
    pub(super) fn called(&self, call: &Call, sources: &Sources) -> Option<Self> {
        let text = self.text(sources)?;
        let callee = text.body.get(call.range.start..call.arguments)?;
        let (object, name) = callee.strip_prefix('(')?.strip_suffix('(')?.split_once(").")?;
        let itself = text.parameters.split([':', ',']).next()?.trim();
        let class = if object == itself {
            self.class.clone()
        } else {
            let child = text.body.lines().find_map(|line| attribute(line.trim(), object, itself))?;
            child_class(class_text(sources, &self.class)?.1, &child)?
        };
        Some(Self { class, name: name.to_owned() })
    }

    fn text<'a>(&self, sources: &'a Sources) -> Option<Text<'a>> {
        let (file, class, first) = class_text(sources, &self.class)?;
        let start = class.find(&format!("\n  def {}(", self.name))? + 1;
        let rest = &class[start..];
        let open = rest.find('(')?;
        let close = closing(rest, open)?;
        let head = close + rest[close..].find(":\n")?;
        let gives = rest[close + 1..head].trim().strip_prefix("->")?.trim();
        let body = &rest[head + 2..];
        let length = lines(body)
            .find(|line| !body[line.clone()].starts_with("    "))
            .map_or(body.len(), |line| line.start);
        Some(Text {
            source: file,
            start: first + start,
            parameters: &rest[open + 1..close],
            gives,
            body: &body[..length],
        })
    }
}

/// What is at the end of the way, as one would write it: `model.layer4`, or the last function's name where it is one.
pub(super) fn words(sources: &Sources, way: &Way) -> String {
    let names = way.iter().filter_map(|(method, call)| {
        let text = method.text(sources)?;
        let callee = text.body.get(call.range.start..call.arguments - 1)?;
        let Some((object, name)) = callee.strip_prefix('(').and_then(|callee| callee.split_once(").")) else {
            return Some(callee.to_owned());
        };
        let itself = text.parameters.split([':', ',']).next()?.trim();
        let child = text.body.lines().find_map(|line| attribute(line.trim(), object, itself));
        Some(child.unwrap_or_else(|| name.to_owned()))
    });
    names.collect::<Vec<_>>().join(".")
}

/// The sources with the other version of the net in them; only those that changed.
pub(super) fn seen(sources: &Sources, way: &Way) -> Option<Sources> {
    let mut added: BTreeMap<&str, Vec<(usize, String)>> = BTreeMap::new();
    for (level, (method, call)) in way.iter().enumerate() {
        let text = method.text(sources)?;
        let is_last = level + 1 == way.len();
        let other = rewritten(&text, call, level, is_last)?;
        added.entry(text.source).or_default().push((text.start, other));
    }
    let mut changed = Sources::new();
    for (file, mut texts) in added {
        let mut source = sources.get(file)?.clone();
        texts.sort_by_key(|(start, _)| std::cmp::Reverse(*start));
        texts.iter().for_each(|(start, text)| source.insert_str(*start, text));
        changed.insert(file.to_owned(), source);
    }
    Some(changed)
}

/// A method's other version.
fn rewritten(text: &Text<'_>, call: &Call, level: usize, is_last: bool) -> Option<String> {
    let Text { body, parameters, gives, .. } = *text;
    let (itself, rest) = parameters.split_once(',').unwrap_or((parameters, ""));
    let rest = if rest.trim().is_empty() { String::new() } else { format!(", {}", rest.trim_start()) };
    let value = &body[call.range.clone()];
    let line = lines(body).find(|line| line.contains(&call.range.start))?;
    let (before, after) = (&body[..line.start], &body[line.start..]);
    let (begin, end) = (call.range.start - line.start, call.range.end - line.start);
    let (first, name) = if is_last {
        (format!("mlaas_at = torch.add({value}, mlaas_delta)"), "mlaas_at")
    } else {
        let object = value[..call.arguments - call.range.start - 1].rsplit_once('.')?.0;
        let arguments = value[call.arguments - call.range.start..].strip_suffix(')')?.trim();
        let comma = if arguments.is_empty() { "" } else { ", " };
        let inner = level + 1;
        (
            format!("mlaas_out, mlaas_at, = {object}.mlaas_seen_{inner}(mlaas_delta{comma}{arguments})"),
            "mlaas_out",
        )
    };
    let body = format!("{before}    {first}\n{}{name}{}", &after[..begin], &after[end..]);
    let mut returns = lines(&body).filter(|line| body[line.clone()].trim_start().starts_with("return "));
    let (Some(line), None) = (returns.next(), returns.next()) else { return None };
    let given = body[line.clone()].strip_prefix("    return ")?.trim_end();
    let body = format!("{}    return ({given}, mlaas_at)\n{}", &body[..line.start], &body[line.end..]);
    Some(format!(
        "  def mlaas_seen_{level}({itself}, mlaas_delta: Tensor{rest}) -> Tuple[{gives}, Tensor]:\n{body}"
    ))
}

/// The file's name, the class's text, and where in the file it begins.
fn class_text<'a>(sources: &'a Sources, class: &str) -> Option<(&'a str, &'a str, usize)> {
    let (module, name) = class.rsplit_once('.')?;
    let (file, source) = sources.get_key_value(&format!("code/{}.py", module.replace('.', "/")))?;
    let head = format!("class {name}(Module):\n");
    let start = if source.starts_with(&head) { 0 } else { source.find(&format!("\n{head}"))? + 1 };
    let inside = &source[start + head.len()..];
    let length = lines(inside)
        .find(|line| !inside[line.clone()].starts_with([' ', '\n']))
        .map_or(inside.len(), |line| line.start);
    Some((file, &source[start..start + head.len() + length], start))
}

/// The attribute that a name stands for, if that line says so: `layer4 = self.layer4` or `_1 = getattr(self, "1")`.
fn attribute(line: &str, name: &str, itself: &str) -> Option<String> {
    let value = line.strip_prefix(name)?.strip_prefix(" = ")?;
    let plain = value.strip_prefix(itself).and_then(|value| value.strip_prefix('.'));
    let quoted =
        || value.strip_prefix("getattr(")?.strip_prefix(itself)?.strip_prefix(", \"")?.strip_suffix("\")");
    plain.or_else(quoted).map(str::to_owned)
}

/// The class of a class's attribute.
fn child_class(class: &str, child: &str) -> Option<String> {
    let (plain, quoted) = (format!("{child} : "), format!("__annotations__[\"{child}\"] = "));
    let of = |line: &str| line.strip_prefix(&plain).or_else(|| line.strip_prefix(&quoted)).map(str::to_owned);
    class.lines().find_map(|line| of(line.trim())).filter(|class| class.starts_with("__torch__."))
}

/// Each line's bytes, its end included.
fn lines(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    text.split_inclusive('\n').scan(0, |end, line| {
        let start = *end;
        *end += line.len();
        Some(start..*end)
    })
}

/// Whether a line is a statement of the method itself, not of a branch or a loop in it, nor their beginning.
fn is_statement(line: &str) -> bool {
    let words = ["if ", "else:", "for ", "while ", "with ", "def ", "pass"];
    line.strip_prefix("    ")
        .is_some_and(|line| !line.starts_with(' ') && !words.iter().any(|word| line.starts_with(word)))
}

/// The calls in a line of a body.
fn calls(body: &str, line: Range<usize>) -> Vec<Call> {
    let mut found = Vec::new();
    for open in outside_of_text(body, line.clone()).filter(|&at| body.as_bytes()[at] == b'(') {
        let name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.".contains(byte);
        let length = body[line.start..open].bytes().rev().take_while(name).count();
        let mut start = open - length;
        if length > 1 && body[start..].starts_with('.') && body[..start].ends_with(')') {
            // `(layer4).forward(`
            let Some(object) = body[line.start..start].rfind('(') else { continue };
            start = line.start + object;
        } else if length == 0 || body[start..].starts_with('.') {
            continue;
        }
        let Some(close) = closing(body, open) else { continue };
        found.push(Call { range: start..close + 1, arguments: open + 1 });
    }
    found
}

/// The parenthesis that closes the one at `open`.
fn closing(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0;
    outside_of_text(text, open..text.len()).find(|&at| {
        match text.as_bytes()[at] {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// The places of bytes that are in no quotation.
fn outside_of_text(text: &str, range: Range<usize>) -> impl Iterator<Item = usize> + '_ {
    let (mut quote, mut is_escaped) = (None, false);
    range.filter(move |&at| {
        let byte = text.as_bytes()[at];
        let is_inside = quote.is_some();
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if byte == b'\\' => is_escaped = true,
            Some(mark) if mark == byte => quote = None,
            None if byte == b'"' || byte == b'\'' => quote = Some(byte),
            _ => {}
        }
        !is_inside
    })
}
