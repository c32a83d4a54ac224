//! What global functions take, by their types (`btf_prepare_func_args`, kernel/bpf/btf.c, 6.18).

use std::collections::HashMap;

use weir_ebpf::ProgramType;
use weir_ebpf::program::Param;

use crate::btf::{Btf, Kind, Linkage, TypeId};

/// Most arguments of a function.
const PARAMS_MAX: usize = 5;
/// Steps over modifiers that are taken at most.
const STEPS_MAX: usize = 64;

/// The global functions that an object has types for, with the remarks on their parameters.
#[derive(Debug)]
pub(crate) struct Prototypes {
    /// Function and prototype by name.
    functions: HashMap<String, (TypeId, TypeId)>,
    /// `arg:` remarks by function and parameter.
    remarks: HashMap<(TypeId, i32), Vec<String>>,
}

impl Prototypes {
    /// What there is to know.
    pub(crate) fn of(btf: &Btf) -> Self {
        let mut found = Self { functions: HashMap::new(), remarks: HashMap::new() };
        for (id, each) in btf.iter() {
            match each.kind {
                Kind::Function { prototype, linkage: Linkage::Global } => {
                    found.functions.insert(btf.text(each.name).to_owned(), (id, prototype));
                }
                Kind::DeclTag { of, component } => {
                    if let Some(remark) = btf.text(each.name).strip_prefix("arg:") {
                        found.remarks.entry((of, component)).or_default().push(remark.to_owned());
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// What global functions take in programs of a type.
pub(crate) struct Signatures<'b> {
    pub(crate) btf: &'b Btf,
    pub(crate) kind: ProgramType,
    pub(crate) declared: &'b Prototypes,
}

impl<'b> Signatures<'b> {
    /// What the global function with this name takes; `None` when it has no types.
    pub(crate) fn get(&self, name: &str) -> Option<Result<Vec<Param>, String>> {
        let (function, prototype) = *self.declared.functions.get(name)?;
        let Kind::Prototype { returns, parameters } = self.btf.kind(prototype) else { return None };
        Some(self.params(name, function, *returns, parameters.iter().map(|parameter| parameter.of)))
    }

    fn params(
        &self,
        name: &str,
        function: TypeId,
        returns: TypeId,
        of: impl ExactSizeIterator<Item = TypeId>,
    ) -> Result<Vec<Param>, String> {
        if of.len() > PARAMS_MAX {
            return Err(format!(
                "Global function {name}() with {} > {PARAMS_MAX} args. Buggy compiler.",
                of.len()
            ));
        }
        if !matches!(self.btf.kind(self.btf.strip(returns)), Kind::Int(_) | Kind::Enum(_)) {
            return Err(format!("Global function {name}() doesn't return scalar. Only those are supported."));
        }
        of.enumerate().map(|(at, of)| self.param(name, function, at, of)).collect()
    }

    fn param(&self, name: &str, function: TypeId, at: usize, of: TypeId) -> Result<Param, String> {
        let remarks = self.declared.remarks.get(&(function, at as i32)).map_or(&[][..], Vec::as_slice);
        let (mut context, mut nullable) = (false, true);
        for remark in remarks {
            match remark.as_str() {
                "ctx" => context = true,
                "nonnull" => nullable = false,
                other => {
                    return Err(format!(
                        "arg#{at} of {name}() is tagged `arg:{other}`, which weir does not know"
                    ));
                }
            }
        }
        match *self.btf.kind(self.btf.strip(of)) {
            Kind::Ptr(_) if context => Ok(Param::Context),
            Kind::Ptr(to) if self.is_context(to) => Ok(Param::Context),
            Kind::Ptr(to) if self.struct_name(to) == Some("bpf_dynptr") => Ok(Param::Dynptr),
            Kind::Ptr(to) => match self.btf.size_of(to).and_then(|bytes| u32::try_from(bytes).ok()) {
                Some(bytes) => Ok(Param::Memory { bytes, nullable }),
                None => {
                    let (kind, to) = self.words(to);
                    Err(format!("arg#{at} reference type('{kind} {to}') size cannot be determined: -22"))
                }
            },
            _ if !remarks.is_empty() => Err(format!("arg#{at} pointer tag unsupported on non-pointer type")),
            Kind::Int(_) | Kind::Enum(_) => Ok(Param::Number),
            _ => {
                let (kind, _) = self.words(of);
                Err(format!("Arg#{at} type {kind} in {name}() is not supported yet."))
            }
        }
    }

    /// Whether it is the structure that programs of this type see as their context.
    fn is_context(&self, of: TypeId) -> bool {
        let wanted = self.kind.view().structs();
        self.struct_name(of).is_some_and(|name| wanted.contains(&name))
    }

    /// The name of a structure, beneath `const` and such but not beneath other names for it.
    fn struct_name(&self, of: TypeId) -> Option<&'b str> {
        let mut of = of;
        for _ in 0..STEPS_MAX {
            match *self.btf.kind(of) {
                Kind::Const(to) | Kind::Volatile(to) | Kind::Restrict(to) | Kind::TypeTag(to) => of = to,
                Kind::Struct(_) | Kind::Forward { union: false } => return Some(self.btf.name(of)),
                _ => return None,
            }
        }
        None
    }

    /// A type as the kernel's messages speak of it.
    fn words(&self, of: TypeId) -> (&'static str, &'b str) {
        let of = self.btf.strip(of);
        let kind = match self.btf.kind(of) {
            Kind::Struct(_) => "STRUCT",
            Kind::Union(_) => "UNION",
            Kind::Forward { .. } => "FWD",
            Kind::Array { .. } => "ARRAY",
            Kind::Float { .. } => "FLOAT",
            Kind::Prototype { .. } => "FUNC_PROTO",
            _ => "UNKNOWN",
        };
        (kind, self.btf.name(of))
    }
}
