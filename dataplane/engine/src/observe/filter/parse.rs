//! The grammar of expressions: libpcap's `grammar.y`, as far as weir knows it.
//!
//! `and` and `or` bind alike, from left to right. A value after one of them, with no word before it, is about what the
//! value before it was about: `port 80 or 443`. `vlan` holds for the whole text behind it, whatever is in between.

use super::eval::{Arith, Expr, Operator, Relation, Size};
use super::lex::{Token, lex, number};
use super::lower::{self, Direction};
use super::names::{self, PROTOS, Proto};
use super::value::{Kind, Qualifiers};
use super::{Filter, FilterError};
use crate::config::nearest;

/// How deep expressions may lie in each other.
const DEPTH_MAX: usize = 64;

/// Words of pcap-filter(7) that are not built.
const UNKNOWN: [&str; 16] = [
    "gateway",
    "protochain",
    "mpls",
    "pppoed",
    "pppoes",
    "geneve",
    "vxlan",
    "inbound",
    "outbound",
    "ifindex",
    "ifname",
    "wlan",
    "llc",
    "stp",
    "carp",
    "igrp",
];

/// Words that begin something or stand between.
const WORDS: [&str; 21] = [
    "and",
    "or",
    "not",
    "src",
    "dst",
    "host",
    "net",
    "port",
    "portrange",
    "proto",
    "vlan",
    "greater",
    "less",
    "len",
    "length",
    "broadcast",
    "multicast",
    "mask",
    "link",
    "ether",
    "ip",
];

/// An expression, and what a value without a word behind it would be about.
type Said = (Expr, Option<Qualifiers>);
/// A number, and what must hold for it to be there.
type Computed = (Arith, Option<Expr>);

pub(super) fn parse(text: &str) -> Result<Expr, FilterError> {
    let tokens = lex(text)?;
    let end = text.chars().count() + 1;
    let mut parser = Parser { tokens, at: 0, end, link: 12, depth: 0 };
    let (expr, _) = parser.expression(None)?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(parser.wrong("`and`, `or` or the end")),
    }
}

pub(super) struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    at: usize,
    /// The column behind the text.
    end: usize,
    /// Where the type of what follows the link header is.
    pub(super) link: u32,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn ahead(&self, by: usize) -> Option<&'t str> {
        self.tokens.get(self.at + by).map(|token| token.text)
    }

    pub(super) fn peek(&self) -> Option<&'t str> {
        self.ahead(0)
    }

    fn is_word(&self, by: usize) -> bool {
        self.tokens.get(self.at + by).is_some_and(|token| token.is_word)
    }

    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    /// Passes this sign or word, if it is the next.
    pub(super) fn accept(&mut self, text: &str) -> bool {
        let found = self.peek() == Some(text);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, text: &str) -> Result<(), FilterError> {
        if self.accept(text) { Ok(()) } else { Err(self.wrong(&format!("`{text}`"))) }
    }

    /// The next word, which is then passed.
    pub(super) fn word(&mut self, wanted: &str) -> Result<&'t str, FilterError> {
        match self.peek() {
            Some(word) if self.is_word(0) && !is_keyword(word) => {
                self.advance();
                Ok(word)
            }
            _ => Err(self.wrong(wanted)),
        }
    }

    /// What is here is not what was wanted.
    pub(super) fn wrong(&self, wanted: &str) -> FilterError {
        match self.tokens.get(self.at) {
            None => FilterError::new(self.end, format_args!("it ends here, and {wanted} is wanted")),
            Some(token) => {
                let what = format!("found `{}`, wanted {wanted}", token.text.escape_debug());
                FilterError::new(token.column, what)
            }
        }
    }

    /// Something is the matter with what was just passed.
    pub(super) fn refused(&self, what: impl std::fmt::Display) -> FilterError {
        let column =
            self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(1, |token| token.column);
        FilterError::new(column, what)
    }

    fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, FilterError>,
    ) -> Result<T, FilterError> {
        if self.depth == DEPTH_MAX {
            return Err(
                self.refused(format_args!("more than {DEPTH_MAX} expressions lie in each other here"))
            );
        }
        self.depth += 1;
        let done = inner(self);
        self.depth -= 1;
        done
    }

    /// `and` is true, `or` is false.
    fn junction(&mut self) -> Option<bool> {
        let and = match self.peek()? {
            "and" | "&&" => true,
            "or" | "||" => false,
            _ => return None,
        };
        self.advance();
        Some(and)
    }

    fn expression(&mut self, implied: Option<Qualifiers>) -> Result<Said, FilterError> {
        let (mut expr, mut implied) = self.term(implied)?;
        while let Some(and) = self.junction() {
            let (right, about) = self.term(implied)?;
            expr = if and { expr.and(right) } else { expr.or(right) };
            implied = about;
        }
        Ok((expr, implied))
    }

    fn term(&mut self, implied: Option<Qualifiers>) -> Result<Said, FilterError> {
        match self.peek() {
            Some("not" | "!") => {
                self.advance();
                let (expr, about) = self.nested(|parser| parser.term(implied))?;
                Ok((expr.negated(), about))
            }
            Some("(") => match self.maybe_relation()? {
                Some(expr) => Ok((expr, None)),
                None => self.nested(|parser| {
                    parser.advance();
                    let said = parser.expression(implied)?;
                    parser.expect(")")?;
                    Ok(said)
                }),
            },
            _ => self.primitive(implied),
        }
    }

    fn primitive(&mut self, implied: Option<Qualifiers>) -> Result<Said, FilterError> {
        let Some(word) = self.peek() else { return Err(self.wrong("something to compare packets with")) };
        let computes = |sign: &str| operator(sign).is_some() || names::relation(sign).is_some();
        let next = self.ahead(1).filter(|_| !self.is_word(1));
        let is_proto = PROTOS.iter().any(|(name, _)| *name == word);
        let is_number = number(word).is_some() || names::field(word).is_some();
        let divides = implied.is_some_and(|about| about.kind == Kind::Net) && next == Some("/");
        match word {
            "len" | "length" | "-" => self.relation().map(|expr| (expr, None)),
            _ if is_proto && next == Some("[") => self.relation().map(|expr| (expr, None)),
            _ if is_number && next.is_some_and(computes) && !divides => {
                self.relation().map(|expr| (expr, None))
            }
            "vlan" => self.vlan().map(|expr| (expr, None)),
            "greater" | "less" => {
                self.advance();
                let length = self.number("a length")?;
                Ok((lower::length(word == "greater", length), None))
            }
            _ if self.is_word(0) && !is_keyword(word) => match implied {
                Some(about) => Ok((self.value(about)?, Some(about))),
                None => Err(self.unknown(word)),
            },
            _ => self.qualified(),
        }
    }

    /// A word that begins nothing.
    fn unknown(&self, word: &str) -> FilterError {
        let token = self.tokens.get(self.at).map_or(self.end, |token| token.column);
        if UNKNOWN.contains(&word) {
            return FilterError::new(token, format_args!("weir's expressions have no `{word}`"));
        }
        let known = WORDS.iter().copied().chain(PROTOS.iter().map(|(name, _)| *name));
        let what = if number(word).is_some() {
            format!("`{word}` says nothing by itself: `port {word}`, `vlan {word}` …")
        } else if word.contains(['.', ':']) {
            format!("`{word}` says nothing by itself: `host {word}`, `net {word}` …")
        } else {
            match nearest(word, known) {
                Some(near) => {
                    format!("`{}` is no word of an expression; did you mean `{near}`?", word.escape_debug())
                }
                None => format!("`{}` is no word of an expression: see pcap-filter(7)", word.escape_debug()),
            }
        };
        FilterError::new(token, what)
    }

    /// `[PROTO] [DIRECTION] [KIND] VALUE`, or a protocol alone.
    fn qualified(&mut self) -> Result<Said, FilterError> {
        let proto = self.peek().and_then(|word| PROTOS.iter().find(|(name, _)| *name == word));
        let proto = proto.map(|(_, proto)| *proto);
        self.at += usize::from(proto.is_some());
        let direction = self.direction();
        let named =
            self.peek().and_then(Kind::named).filter(|kind| *kind != Kind::Proto || direction.is_none());
        self.at += usize::from(named.is_some());
        match (named, direction, self.peek()) {
            (None, None, Some("broadcast" | "multicast")) => self.many(proto),
            (None, None, _) => {
                let Some(proto) = proto else {
                    return Err(self.wrong("a word such as `host`, `port` or `tcp`"));
                };
                match lower::proto(self.link, proto) {
                    Some(expr) => Ok((expr, None)),
                    None => Err(self.wrong("`host`, `src`, `dst`, `proto`, `broadcast` or `multicast`")),
                }
            }
            _ => {
                let direction = direction.unwrap_or(Direction::Either);
                let about = Qualifiers { proto, direction, kind: named.unwrap_or(Kind::Host) };
                Ok((self.values(about)?, Some(about)))
            }
        }
    }

    /// `src`, `dst`, and the two together.
    fn direction(&mut self) -> Option<Direction> {
        let first = self.peek()?;
        let (own, other) = match first {
            "src" => (Direction::Source, "dst"),
            "dst" => (Direction::Destination, "src"),
            _ => return None,
        };
        self.advance();
        let together = match self.peek() {
            Some("or" | "||") => Direction::Either,
            Some("and" | "&&") => Direction::Both,
            _ => return Some(own),
        };
        // `src or dst host A`, but not `src host A or dst host B`, and not `src A or dst B`.
        if self.ahead(1) != Some(other) {
            return Some(own);
        }
        self.at += 2;
        Some(together)
    }

    fn many(&mut self, proto: Option<Proto>) -> Result<Said, FilterError> {
        let word = self.peek().unwrap_or_default();
        self.advance();
        let expr = match (word, proto) {
            ("broadcast", None | Some(Proto::Ether)) => Some(lower::broadcast()),
            ("broadcast", Some(_)) => None,
            _ => lower::multicast(self.link, proto),
        };
        let expr = expr.ok_or_else(|| {
            let proto = proto.map_or("", Proto::name);
            self.refused(format_args!("weir's expressions have no `{proto} {word}`"))
        })?;
        Ok((expr, None))
    }

    /// One value, or several in parentheses.
    fn values(&mut self, about: Qualifiers) -> Result<Expr, FilterError> {
        match self.peek() {
            Some("not" | "!") => {
                self.advance();
                self.nested(|parser| parser.values(about)).map(Expr::negated)
            }
            Some("(") => self.nested(|parser| {
                parser.advance();
                let mut expr = parser.values(about)?;
                while let Some(and) = parser.junction() {
                    let right = parser.values(about)?;
                    expr = if and { expr.and(right) } else { expr.or(right) };
                }
                parser.expect(")")?;
                Ok(expr)
            }),
            _ => self.value(about),
        }
    }

    fn vlan(&mut self) -> Result<Expr, FilterError> {
        self.advance();
        let tag = match self.peek().and_then(number).filter(|_| self.is_word(0)) {
            None => None,
            Some(tag) => {
                self.advance();
                let tag = u16::try_from(tag).ok().filter(|tag| *tag < 4096);
                Some(tag.ok_or_else(|| self.refused("VLANs are numbered from 0 to 4095"))?)
            }
        };
        let expr = lower::vlan(self.link, tag);
        self.link += 4;
        Ok(expr)
    }

    pub(super) fn number(&mut self, wanted: &str) -> Result<u32, FilterError> {
        let found = self.peek().filter(|_| self.is_word(0));
        let found = found.and_then(|word| number(word).or_else(|| names::field(word)));
        let found = found.ok_or_else(|| self.wrong(wanted))?;
        self.advance();
        Ok(found)
    }

    /// A relation, if what is in parentheses here turns out to be computed; else nothing is passed.
    fn maybe_relation(&mut self) -> Result<Option<Expr>, FilterError> {
        let start = self.at;
        let computed = self.arith(0);
        let compares = self.peek().is_some_and(|sign| names::relation(sign).is_some());
        self.at = start;
        match computed {
            Ok(_) if compares => self.relation().map(Some),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    fn relation(&mut self) -> Result<Expr, FilterError> {
        let (left, left_there) = self.arith(0)?;
        let Some((relation, opposite)) = self.peek().and_then(names::relation) else {
            return Err(self.wrong("a comparison: `=`, `!=`, `<`, `<=`, `>` or `>=`"));
        };
        self.advance();
        let (right, right_there) = self.arith(0)?;
        Ok(compared(left, relation, opposite, right, [right_there, left_there]))
    }

    /// A number that is computed, of operators that bind at least so tightly.
    fn arith(&mut self, least: u8) -> Result<Computed, FilterError> {
        let (mut left, mut there) = self.operand()?;
        while let Some((operator, tightness)) =
            self.peek().and_then(operator).filter(|(_, own)| *own >= least)
        {
            self.advance();
            let (right, also) = self.arith(tightness + 1)?;
            if right == Arith::Number(0) && matches!(operator, Operator::Divide | Operator::Remainder) {
                return Err(self.refused("nothing can be divided by zero"));
            }
            left = Arith::Binary(operator, Box::new(left), Box::new(right));
            there = both(there, also);
        }
        Ok((left, there))
    }

    fn operand(&mut self) -> Result<Computed, FilterError> {
        let word = self.peek();
        let proto = word.and_then(|word| PROTOS.iter().find(|(name, _)| *name == word));
        match (word, proto) {
            (Some("("), _) => self.nested(|parser| {
                parser.advance();
                let computed = parser.arith(0)?;
                parser.expect(")")?;
                Ok(computed)
            }),
            (Some("-"), _) => {
                self.advance();
                let (value, there) = self.nested(Self::operand)?;
                let zero = Box::new(Arith::Number(0));
                Ok((Arith::Binary(Operator::Subtract, zero, Box::new(value)), there))
            }
            (Some("len" | "length"), _) => {
                self.advance();
                Ok((Arith::Length, None))
            }
            (_, Some((_, proto))) => {
                self.advance();
                self.nested(|parser| parser.field(*proto))
            }
            _ => Ok((Arith::Number(self.number("a number, or bytes such as `tcp[13]`")?), None)),
        }
    }

    /// `[INDEX]` or `[INDEX:SIZE]`.
    fn field(&mut self, proto: Proto) -> Result<Computed, FilterError> {
        self.expect("[")?;
        let (index, there) = self.arith(0)?;
        let size = match self.accept(":") {
            false => Size::Byte,
            true => match self.number("a size")? {
                1 => Size::Byte,
                2 => Size::Half,
                4 => Size::Word,
                _ => return Err(self.refused("1, 2 or 4 bytes can be looked at")),
            },
        };
        self.expect("]")?;
        let (value, own) = lower::field(self.link, proto, index, size);
        Ok((value, both(there, own)))
    }
}

fn both(left: Option<Expr>, right: Option<Expr>) -> Option<Expr> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.and(right)),
        (left, right) => left.or(right),
    }
}

fn compared(left: Arith, relation: Relation, opposite: bool, right: Arith, there: [Option<Expr>; 2]) -> Expr {
    let holds = Expr::Compare(left, relation, right);
    let holds = if opposite { holds.negated() } else { holds };
    there.into_iter().flatten().fold(holds, |holds, there| there.and(holds))
}

/// The operator of a sign, and how tightly it binds.
fn operator(sign: &str) -> Option<(Operator, u8)> {
    Some(match sign {
        "|" => (Operator::Or, 1),
        "^" => (Operator::Xor, 1),
        "&" => (Operator::And, 2),
        "<<" => (Operator::ShiftLeft, 3),
        ">>" => (Operator::ShiftRight, 3),
        "+" => (Operator::Add, 4),
        "-" => (Operator::Subtract, 4),
        "*" => (Operator::Multiply, 5),
        "/" => (Operator::Divide, 5),
        "%" => (Operator::Remainder, 5),
        _ => return None,
    })
}

/// Whether a word has a meaning of its own.
fn is_keyword(word: &str) -> bool {
    WORDS.contains(&word) || PROTOS.iter().any(|(name, _)| *name == word)
}

impl std::str::FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Filter::parse(text)
    }
}
