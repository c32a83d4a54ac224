//! An expression as loads, arithmetic and comparisons, and what it comes to for a packet.

/// Something that holds for a packet or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expr {
    /// Two numbers compared.
    Compare(Arith, Relation, Arith),
    Not(Box<Expr>),
    /// The second is asked when the first holds.
    And(Box<Expr>, Box<Expr>),
    /// The second is asked when the first does not hold.
    Or(Box<Expr>, Box<Expr>),
}

/// How two numbers may stand to each other. What is less or unequal is the opposite of one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    Greater,
    AtLeast,
}

/// A number of 32 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arith {
    Number(u32),
    /// How long the packet is.
    Length,
    /// Bytes of the packet, in network order.
    Load {
        from: From,
        index: Box<Arith>,
        size: Size,
    },
    Binary(Operator, Box<Arith>, Box<Arith>),
}

/// Where the index of a load begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// At this byte of the frame.
    Frame(u32),
    /// Behind the IPv4 header that begins at this byte, whose length is in it.
    BehindIp4(u32),
}

/// How many bytes a load takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Byte,
    Half,
    Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

impl Expr {
    /// `None`: the packet has no byte where one is looked at, or is divided by zero. Then it is refused altogether.
    pub(super) fn holds(&self, packet: &[u8]) -> Option<bool> {
        match self {
            Expr::Compare(left, relation, right) => {
                let (left, right) = (left.value(packet)?, right.value(packet)?);
                Some(match relation {
                    Relation::Equal => left == right,
                    Relation::Greater => left > right,
                    Relation::AtLeast => left >= right,
                })
            }
            Expr::Not(inner) => inner.holds(packet).map(|holds| !holds),
            Expr::And(left, right) => match left.holds(packet)? {
                true => right.holds(packet),
                false => Some(false),
            },
            Expr::Or(left, right) => match left.holds(packet)? {
                true => Some(true),
                false => right.holds(packet),
            },
        }
    }

    pub(super) fn and(self, other: Expr) -> Expr {
        Expr::And(Box::new(self), Box::new(other))
    }

    pub(super) fn or(self, other: Expr) -> Expr {
        Expr::Or(Box::new(self), Box::new(other))
    }

    pub(super) fn negated(self) -> Expr {
        Expr::Not(Box::new(self))
    }
}

impl Arith {
    fn value(&self, packet: &[u8]) -> Option<u32> {
        match self {
            Arith::Number(number) => Some(*number),
            Arith::Length => Some(packet.len() as u32),
            Arith::Load { from, index, size } => {
                let start = match *from {
                    From::Frame(at) => at,
                    From::BehindIp4(at) => at.checked_add(u32::from(*packet.get(at as usize)? & 0xf) * 4)?,
                };
                size.read(packet, start.checked_add(index.value(packet)?)? as usize)
            }
            Arith::Binary(operator, left, right) => operator.of(left.value(packet)?, right.value(packet)?),
        }
    }
}

impl Size {
    fn read(self, packet: &[u8], at: usize) -> Option<u32> {
        let bytes = match self {
            Size::Byte => 1,
            Size::Half => 2,
            Size::Word => 4,
        };
        let place = packet.get(at..at.checked_add(bytes)?)?;
        Some(place.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }
}

impl Operator {
    fn of(self, left: u32, right: u32) -> Option<u32> {
        Some(match self {
            Operator::Add => left.wrapping_add(right),
            Operator::Subtract => left.wrapping_sub(right),
            Operator::Multiply => left.wrapping_mul(right),
            Operator::Divide => left.checked_div(right)?,
            Operator::Remainder => left.checked_rem(right)?,
            Operator::And => left & right,
            Operator::Or => left | right,
            Operator::Xor => left ^ right,
            Operator::ShiftLeft => left.checked_shl(right).unwrap_or(0),
            Operator::ShiftRight => left.checked_shr(right).unwrap_or(0),
        })
    }
}
