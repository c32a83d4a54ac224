//! Arguments in bpftool's manner: bare keywords (`name fw with fw2.o`), read one after another.

use std::fmt::Display;
use std::str::FromStr;

use anyhow::anyhow;

use crate::exit::{Code, Failure};

/// Words of a command line that are still to be read.
pub(crate) struct Words<'w> {
    rest: &'w [String],
    /// How the command is written, for the errors.
    usage: &'static str,
}

/// How a program or a map is named: `id N`, `name N`, `tag T`, or just a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    /// Its number.
    Id(u32),
    /// Its name.
    Name(String),
    /// A program's tag.
    Tag(String),
}

impl Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Selector::Id(id) => write!(f, "id {id}"),
            Selector::Name(name) => write!(f, "name {name}"),
            Selector::Tag(tag) => write!(f, "tag {tag}"),
        }
    }
}

impl<'w> Words<'w> {
    pub(crate) fn new(words: &'w [String], usage: &'static str) -> Self {
        Self { rest: words, usage }
    }

    /// A failure that says how the command is written.
    pub(crate) fn wrong(&self, what: impl Display) -> Failure {
        Failure::new(Code::Usage, anyhow!("{what}")).hint(format!("weir {}", self.usage))
    }

    /// Whether all is read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next word, left where it is.
    pub(crate) fn peek(&self) -> Option<&'w str> {
        self.rest.first().map(String::as_str)
    }

    /// The next word, if there is one.
    pub(crate) fn next(&mut self) -> Option<&'w str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The next word, which stands for something.
    pub(crate) fn want(&mut self, what: &str) -> Result<&'w str, Failure> {
        self.next().ok_or_else(|| self.wrong(format_args!("{what} is missing")))
    }

    /// Whether the next word is this one; read if so.
    pub(crate) fn accept(&mut self, keyword: &str) -> bool {
        let found = self.peek() == Some(keyword);
        if found {
            self.next();
        }
        found
    }

    /// This word must come next.
    pub(crate) fn expect(&mut self, keyword: &str) -> Result<(), Failure> {
        match self.peek() {
            Some(word) if word == keyword => {
                self.next();
                Ok(())
            }
            Some(word) => Err(self.wrong(format_args!("`{word}` stands where `{keyword}` is wanted"))),
            None => Err(self.wrong(format_args!("`{keyword}` is missing"))),
        }
    }

    /// The value after a keyword, if the keyword comes next.
    pub(crate) fn value(&mut self, keyword: &str) -> Result<Option<&'w str>, Failure> {
        match self.accept(keyword) {
            true => self.want(&format!("what comes after `{keyword}`")).map(Some),
            false => Ok(None),
        }
    }

    /// The number after a keyword, if the keyword comes next.
    pub(crate) fn number<T: FromStr>(&mut self, keyword: &str) -> Result<Option<T>, Failure> {
        let Some(word) = self.value(keyword)? else { return Ok(None) };
        match word.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(self.wrong(format_args!("`{keyword} {word}`: no such number"))),
        }
    }

    /// A selector.
    pub(crate) fn selector(&mut self, what: &str) -> Result<Selector, Failure> {
        if let Some(id) = self.number("id")? {
            return Ok(Selector::Id(id));
        }
        if let Some(tag) = self.value("tag")? {
            return Ok(Selector::Tag(tag.to_owned()));
        }
        if let Some(name) = self.value("name")? {
            return Ok(Selector::Name(name.to_owned()));
        }
        self.want(what).map(|name| Selector::Name(name.to_owned()))
    }

    /// All must be read by now.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        match self.peek() {
            None => Ok(()),
            Some(word) => Err(self.wrong(format_args!("`{word}` is one word too many"))),
        }
    }

    /// The words up to one of these keywords, or to the end.
    pub(crate) fn until(&mut self, keywords: &[&str]) -> &'w [String] {
        let end = self.rest.iter().position(|word| keywords.contains(&word.as_str()));
        let (before, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn keywords_are_read_in_order_and_what_is_left_is_an_error() {
        let text = words("name fw with fw2.o prio 7 more");
        let mut words = Words::new(&text, "prog replace PROG with OBJ");
        assert_eq!(words.selector("PROG").unwrap(), Selector::Name("fw".to_owned()));
        words.expect("with").unwrap();
        assert_eq!(words.want("OBJ").unwrap(), "fw2.o");
        assert_eq!(words.number::<u32>("prio").unwrap(), Some(7));
        assert_eq!(words.value("dev").unwrap(), None);
        let failure = words.end().unwrap_err();
        assert_eq!(failure.error.to_string(), "`more` is one word too many");
        assert_eq!(failure.hint.unwrap(), "weir prog replace PROG with OBJ");
    }

    #[test]
    fn selectors_have_three_forms_and_a_short_one() {
        let select = |text| Words::new(&words(text), "").selector("PROG").map_err(|f| f.error.to_string());
        assert_eq!(select("id 7"), Ok(Selector::Id(7)));
        assert_eq!(select("tag 2b7a"), Ok(Selector::Tag("2b7a".to_owned())));
        assert_eq!(select("fw"), Ok(Selector::Name("fw".to_owned())));
        assert_eq!(select("id x"), Err("`id x`: no such number".to_owned()));
        assert_eq!(select("name"), Err("what comes after `name` is missing".to_owned()));
        assert_eq!(select(""), Err("PROG is missing".to_owned()));
    }
}
