//! The grammar of expressions: text to a tree with places.

use std::ops::Range;

use crate::diagnostic::Diagnostic;
use crate::graph::BinaryOperator;

/// A node of a parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Syntax {
    /// What it is.
    pub kind: SyntaxKind,
    /// Bytes of the source text.
    pub span: Range<usize>,
}

/// The forms of an expression.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum SyntaxKind {
    Number(f64),
    Name(String),
    /// The name of an element, in single quotes.
    Element(String),
    Negate(Box<Syntax>),
    Binary(BinaryOperator, Box<Syntax>, Box<Syntax>),
    Call {
        function: String,
        arguments: Vec<Syntax>,
    },
    Index {
        base: Box<Syntax>,
        indices: Vec<Syntax>,
    },
}

impl Syntax {
    /// Calls `see` on every node, outermost first.
    pub(crate) fn visit(&self, see: &mut dyn FnMut(&Syntax)) {
        see(self);
        match &self.kind {
            SyntaxKind::Number(_) | SyntaxKind::Name(_) | SyntaxKind::Element(_) => {}
            SyntaxKind::Negate(a) => a.visit(see),
            SyntaxKind::Binary(_, a, b) => {
                a.visit(see);
                b.visit(see);
            }
            SyntaxKind::Call { arguments, .. } => arguments.iter().for_each(|a| a.visit(see)),
            SyntaxKind::Index { base, indices } => {
                base.visit(see);
                indices.iter().for_each(|a| a.visit(see));
            }
        }
    }
}

/// Where the text of an expression stands in its file.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The whole value, quotes included.
    pub(crate) whole: Range<usize>,
    /// Where the first byte of the expression stands, when positions inside can be told.
    pub(crate) start: Option<usize>,
}

impl Place {
    /// The place of the string `text` written at `span` of `source`.
    pub(crate) fn of(source: &str, span: &Range<usize>, text: &str) -> Self {
        let start = source.get(span.clone()).and_then(|raw| raw.find(text)).map(|offset| span.start + offset);
        Self { whole: span.clone(), start }
    }

    fn span(&self, inside: Range<usize>) -> Range<usize> {
        match self.start {
            Some(start) => start + inside.start..start + inside.end,
            None => self.whole.clone(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Name(String),
    Element(String),
    Symbol(char),
}

struct Parser<'t> {
    tokens: Vec<(Token, Range<usize>)>,
    next: usize,
    text: &'t str,
    place: &'t Place,
    depth: usize,
}

/// Most names, numbers and signs in an expression; sums nest as deeply as they are long.
const MAX_TOKENS: usize = 4000;

/// Deepest nesting of an expression.
const MAX_DEPTH: usize = 200;

/// Parses an expression.
///
/// expression = term { (+|−) term };  term = factor { (*|/) factor };  factor = −factor | postfix;
/// postfix = primary { "[" expression {, expression} "]" };
/// primary = number | name | 'element' | name "(" expression {, expression} ")" | "(" expression ")"
pub(crate) fn parse(text: &str, place: &Place) -> Result<Syntax, Diagnostic> {
    let mut parser = Parser { tokens: tokenize(text, place)?, next: 0, text, place, depth: 0 };
    if parser.tokens.len() > MAX_TOKENS {
        return Err(Diagnostic::new("expression-length", format!("the expression has more than {MAX_TOKENS} parts"))
            .at(place.whole.clone(), "too long")
            .help("name parts of it in [expressions], or write a sum over columns as dot(a, b) with a block"));
    }
    let tree = parser.expression()?;
    match parser.peek() {
        None => Ok(tree),
        Some((token, span)) => {
            Err(parser.unexpected(token.clone(), span.clone(), "the end of the expression or an operator"))
        }
    }
}

/// Whether a character may begin a name.
fn begins_name(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn continues_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `name` can be written in an expression without backquotes.
pub(crate) fn is_plain_name(name: &str) -> bool {
    name.chars().next().is_some_and(begins_name)
        && name.chars().all(|c| continues_name(c) || c == '.')
        && !name.ends_with('.')
}

fn tokenize(text: &str, place: &Place) -> Result<Vec<(Token, Range<usize>)>, Diagnostic> {
    let mut tokens = Vec::new();
    let bytes: Vec<(usize, char)> = text.char_indices().collect();
    let position = |i: usize| bytes.get(i).map_or(text.len(), |b| b.0);
    let character = |i: usize| bytes.get(i).map(|b| b.1);
    let mut i = 0;
    while let Some(c) = character(i) {
        let begin = i;
        if c.is_whitespace() {
            i += 1;
            continue;
        }
        let token = if begins_name(c) {
            while let Some(d) = character(i) {
                let dot = d == '.' && character(i + 1).is_some_and(continues_name);
                if !continues_name(d) && !dot {
                    break;
                }
                i += 1;
            }
            Token::Name(text[position(begin)..position(i)].to_string())
        } else if c.is_ascii_digit() || (c == '.' && character(i + 1).is_some_and(|d| d.is_ascii_digit())) {
            while character(i).is_some_and(|d| d.is_ascii_digit() || d == '.' || d == '_') {
                i += 1;
            }
            if matches!(character(i), Some('e' | 'E')) {
                let sign = usize::from(matches!(character(i + 1), Some('+' | '-')));
                if character(i + 1 + sign).is_some_and(|d| d.is_ascii_digit()) {
                    i += 1 + sign;
                    while character(i).is_some_and(|d| d.is_ascii_digit()) {
                        i += 1;
                    }
                }
            }
            let written = &text[position(begin)..position(i)];
            let span = place.span(position(begin)..position(i));
            match written.replace('_', "").parse::<f64>() {
                Ok(x) if x.is_finite() => Token::Number(x),
                _ => {
                    return Err(Diagnostic::new(
                        "expression-syntax",
                        format!("`{written}` is not a number in the expression `{text}`"),
                    )
                    .at(span, "not a number"));
                }
            }
        } else if c == '`' || c == '\'' {
            i += 1;
            while character(i).is_some_and(|d| d != c) {
                i += 1;
            }
            let inner = text[position(begin + 1)..position(i)].to_string();
            if character(i).is_none() || inner.is_empty() {
                let quote = if c == '`' { "backquote" } else { "single quote" };
                let what = if inner.is_empty() {
                    format!("no name stands between {quote}s")
                } else {
                    format!("a {quote} is not closed")
                };
                return Err(Diagnostic::new("expression-syntax", format!("{what} in the expression `{text}`"))
                    .at(place.span(position(begin)..text.len()), "opened here"));
            }
            i += 1;
            if c == '`' { Token::Name(inner) } else { Token::Element(inner) }
        } else if "+-*/()[],".contains(c) {
            i += 1;
            Token::Symbol(c)
        } else {
            let mistake = Diagnostic::new(
                "expression-syntax",
                format!("the character `{c}` has no meaning in the expression `{text}`"),
            )
            .at(place.span(position(i)..position(i + 1)), "this character");
            return Err(match c {
                '^' => mistake.help("write square(a), or a * a * a"),
                '@' => mistake.help("write dot(a, b)"),
                '<' | '>' | '=' => mistake.help("compare outside of the model and give the result as a column of 0 and 1"),
                _ => mistake.help("an expression has names, numbers, + - * /, parentheses, dot(a, b), a[b] and functions; a name with other characters is put between backquotes"),
            });
        };
        tokens.push((token, place.span(position(begin)..position(i))));
    }
    Ok(tokens)
}

impl Parser<'_> {
    fn peek(&self) -> Option<&(Token, Range<usize>)> {
        self.tokens.get(self.next)
    }

    fn symbol(&mut self, allowed: &[char]) -> Option<char> {
        match self.peek() {
            Some((Token::Symbol(c), _)) if allowed.contains(c) => {
                let c = *c;
                self.next += 1;
                Some(c)
            }
            _ => None,
        }
    }

    fn unexpected(&self, token: Token, span: Range<usize>, expected: &str) -> Diagnostic {
        let before = self.next.checked_sub(1).and_then(|i| self.tokens.get(i)).map(|t| &t.0);
        let help = match (before, &token) {
            (Some(Token::Symbol('*')), Token::Symbol('*')) => Some("write square(a), or a * a * a"),
            (Some(Token::Name(_)), Token::Name(_) | Token::Number(_)) => Some(
                "write an operator between the two; a name with spaces or other characters is put between backquotes",
            ),
            _ => None,
        };
        let written = match token {
            Token::Number(x) => x.to_string(),
            Token::Name(name) => name,
            Token::Element(name) => format!("'{name}'"),
            Token::Symbol(c) => c.to_string(),
        };
        let mistake = Diagnostic::new(
            "expression-syntax",
            format!("`{written}` stands where {expected} should in the expression `{}`", self.text),
        )
        .at(span, format!("expected {expected}"));
        match help {
            Some(help) => mistake.help(help),
            None => mistake,
        }
    }

    fn failed(&self, expected: &str) -> Diagnostic {
        match self.peek() {
            Some((token, span)) => self.unexpected(token.clone(), span.clone(), expected),
            None => Diagnostic::new(
                "expression-syntax",
                format!("the expression `{}` ends where {expected} should follow", self.text),
            )
            .at(self.place.whole.clone(), "ends too early"),
        }
    }

    fn end_of_last(&self) -> Range<usize> {
        self.tokens.get(self.next.saturating_sub(1)).map_or(self.place.whole.clone(), |t| t.1.clone())
    }

    fn join(&self, start: &Range<usize>) -> Range<usize> {
        start.start..self.end_of_last().end.max(start.start)
    }

    fn expression(&mut self) -> Result<Syntax, Diagnostic> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Diagnostic::new("expression-syntax", "the expression is nested too deeply")
                .at(self.place.whole.clone(), format!("more than {MAX_DEPTH} levels"))
                .help("name parts of it in [expressions]"));
        }
        let mut left = self.term()?;
        while let Some(c) = self.symbol(&['+', '-']) {
            let right = self.term()?;
            left = self.binary(if c == '+' { BinaryOperator::Add } else { BinaryOperator::Subtract }, left, right);
        }
        self.depth -= 1;
        Ok(left)
    }

    fn binary(&self, operator: BinaryOperator, left: Syntax, right: Syntax) -> Syntax {
        let span = self.join(&left.span);
        Syntax { kind: SyntaxKind::Binary(operator, Box::new(left), Box::new(right)), span }
    }

    fn term(&mut self) -> Result<Syntax, Diagnostic> {
        let mut left = self.factor()?;
        while let Some(c) = self.symbol(&['*', '/']) {
            let right = self.factor()?;
            left = self.binary(if c == '*' { BinaryOperator::Multiply } else { BinaryOperator::Divide }, left, right);
        }
        Ok(left)
    }

    fn factor(&mut self) -> Result<Syntax, Diagnostic> {
        let mut signs = Vec::new();
        loop {
            let begin = self.peek().map(|t| t.1.clone());
            match (self.symbol(&['+', '-']), begin) {
                (Some(c), Some(begin)) => signs.push((c, begin)),
                _ => break,
            }
        }
        let mut inner = self.postfix()?;
        for (c, begin) in signs.into_iter().rev() {
            if c == '-' {
                let span = self.join(&begin);
                inner = match inner.kind {
                    SyntaxKind::Number(x) => Syntax { kind: SyntaxKind::Number(-x), span },
                    _ => Syntax { kind: SyntaxKind::Negate(Box::new(inner)), span },
                };
            }
        }
        Ok(inner)
    }

    fn list(&mut self, close: char) -> Result<Vec<Syntax>, Diagnostic> {
        let mut items = vec![self.expression()?];
        loop {
            match self.symbol(&[',', close]) {
                Some(',') => items.push(self.expression()?),
                Some(_) => return Ok(items),
                None => return Err(self.failed(&format!("`,` or `{close}`"))),
            }
        }
    }

    fn postfix(&mut self) -> Result<Syntax, Diagnostic> {
        let mut base = self.primary()?;
        while self.symbol(&['[']).is_some() {
            let indices = self.list(']')?;
            let span = self.join(&base.span);
            base = Syntax { kind: SyntaxKind::Index { base: Box::new(base), indices }, span };
        }
        Ok(base)
    }

    fn primary(&mut self) -> Result<Syntax, Diagnostic> {
        let Some((token, span)) = self.peek().cloned() else {
            return Err(self.failed("a name, a number or `(`"));
        };
        match token {
            Token::Number(x) => {
                self.next += 1;
                Ok(Syntax { kind: SyntaxKind::Number(x), span })
            }
            Token::Element(name) => {
                self.next += 1;
                Ok(Syntax { kind: SyntaxKind::Element(name), span })
            }
            Token::Name(name) => {
                self.next += 1;
                if self.symbol(&['(']).is_some() {
                    let arguments = self.list(')')?;
                    let span = self.join(&span);
                    return Ok(Syntax { kind: SyntaxKind::Call { function: name, arguments }, span });
                }
                Ok(Syntax { kind: SyntaxKind::Name(name), span })
            }
            Token::Symbol('(') => {
                self.next += 1;
                let inner = self.expression()?;
                if self.symbol(&[')']).is_none() {
                    return Err(self.failed("`)`"));
                }
                Ok(inner)
            }
            Token::Symbol(_) => Err(self.failed("a name, a number or `(`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Result<Syntax, Diagnostic> {
        parse(text, &Place { whole: 0..text.len(), start: Some(0) })
    }

    fn show(syntax: &Syntax) -> String {
        match &syntax.kind {
            SyntaxKind::Number(x) => x.to_string(),
            SyntaxKind::Name(name) => name.clone(),
            SyntaxKind::Element(name) => format!("'{name}'"),
            SyntaxKind::Negate(a) => format!("(- {})", show(a)),
            SyntaxKind::Binary(op, a, b) => format!("({op:?} {} {})", show(a), show(b)),
            SyntaxKind::Call { function, arguments } => {
                format!("{function}({})", arguments.iter().map(show).collect::<Vec<_>>().join(" "))
            }
            SyntaxKind::Index { base, indices } => {
                format!("{}[{}]", show(base), indices.iter().map(show).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn precedence_and_associativity() {
        let cases = [
            ("a - b - c", "(Subtract (Subtract a b) c)"),
            ("a + b * c", "(Add a (Multiply b c))"),
            ("-a * b", "(Multiply (- a) b)"),
            ("a * -2.5e-1", "(Multiply a -0.25)"),
            ("(a + b) / c", "(Divide (Add a b) c)"),
            ("rate[block[sender], block[receiver]]", "rate[block[sender] block[receiver]]"),
            ("dot(a, x) + e[g]", "(Add dot(a x) e[g])"),
            ("`petal length` * Sepal.Width", "(Multiply petal length Sepal.Width)"),
            ("effect['new drug'] - effect[0]", "(Subtract effect['new drug'] effect[0])"),
        ];
        for (text, expected) in cases {
            assert_eq!(tree(text).map(|t| show(&t)), Ok(expected.to_string()), "{text}");
        }
    }

    #[test]
    fn places_point_at_the_culprit() {
        for (text, culprit) in [("a + * b", "*"), ("a ^ 2", "^"), ("a b", "b"), ("dot(a; b)", ";"), ("1.2.3", "1.2.3")]
        {
            let mistake = tree(text).expect_err(text);
            assert_eq!(&text[mistake.labels[0].span.clone()], culprit, "{text}");
        }
        for text in ["", "(a", "a[", "a +", "f(", "`a", "b['a]", "b['']"] {
            assert!(tree(text).is_err(), "{text}");
        }
        assert!(tree(&"(".repeat(100_000)).is_err());
    }

    #[test]
    fn spans_cover_the_written_text() {
        let text = "a + b[c] * 2";
        let SyntaxKind::Binary(_, _, right) = tree(text).expect("valid").kind else { unreachable!() };
        assert_eq!(&text[right.span.clone()], "b[c] * 2");
    }
}
