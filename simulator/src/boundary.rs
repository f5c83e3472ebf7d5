//! What the plugin runs in: a process in a sandbox, or a virtual machine. The fuses say which, for the HSM's life.

use crate::fuses::{self, Fuses};
use crate::home::Home;
use crate::image::SealedImage;
use crate::sandbox::verify::{self, Found};
use crate::sandbox::{self, Launched, Layer, Layers, MissingLayer};
use crate::vm::qemu::{self, Acceleration};
use crate::vm::{self, Platform};
use crate::{HsmError, log};

/// A boundary that is ready to take the plugin.
#[derive(Debug)]
pub enum Boundary {
    /// A process in these layers.
    Process(Layers),
    /// A machine that starts with this, and its plugin in these layers.
    Machine(Platform, Acceleration, Layers),
}

/// What holds around the plugin, for status and attestations.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// `process` or `vm`.
    pub boundary: &'static str,
    /// The layers that are there.
    pub layers: Vec<String>,
    /// Those that the operator did without.
    pub missing: Vec<String>,
}

impl Boundary {
    /// The one that the fuses say, as far as this machine has it.
    pub fn open(
        fuses: &Fuses,
        home: &Home,
        weak_sandbox: bool,
        acceleration: Acceleration,
    ) -> Result<Self, HsmError> {
        let fuses::Boundary::Machine(pinned) = fuses.boundary else {
            let layers = available(&Layer::ALL, sandbox::probe()?, weak_sandbox)?;
            return Ok(Self::Process(layers));
        };
        let platform = Platform::load(&home.ceremony())?;
        if *platform.measurement() == pinned {
            let layers = available(&vm::LAYERS, qemu::probe()?, weak_sandbox)?;
            return Ok(Self::Machine(platform, acceleration, layers));
        }
        Err(HsmError::Home(
            "the kernel or the first root of the virtual machine is not the one that the HSM was initialised with; put it back".into(),
        ))
    }

    /// Starts the plugin. The calling thread must live as long as the plugin may.
    pub fn launch(&self, image: &SealedImage) -> Result<Launched, HsmError> {
        match self {
            Self::Process(layers) => sandbox::launch(image, layers),
            Self::Machine(platform, acceleration, layers) => {
                qemu::launch(image, platform, *acceleration, layers)
            }
        }
    }

    /// Asks the kernel whether the plugin is there, in its layers. Into a machine nobody can look from outside: what runs there beside the
    /// plugin asks its own kernel before it passes a word on, or stops the machine. What is outside was checked at the launch.
    pub fn verify(&self, child_pid: u32) -> Result<Found, HsmError> {
        match self {
            Self::Process(layers) => verify::verify(child_pid, layers),
            Self::Machine(..) => Ok(Found::Confined),
        }
    }

    /// The platform measurement of a machine.
    pub fn platform(&self) -> Option<&[u8; 48]> {
        match self {
            Self::Process(_) => None,
            Self::Machine(platform, ..) => Some(platform.measurement()),
        }
    }

    /// What holds around the plugin.
    pub fn in_force(&self) -> InForce {
        let words = |layers: &[Layer]| layers.iter().map(ToString::to_string).collect();
        let (boundary, all, layers) = match self {
            Self::Process(layers) => ("process", Layer::ALL.as_slice(), layers),
            Self::Machine(_, _, layers) => ("vm", vm::LAYERS.as_slice(), layers),
        };
        InForce { boundary, layers: words(layers.present()), missing: layers.missing_words(all) }
    }
}

/// Of all layers, those that are not missing; with one missing, only an operator who said so goes on.
fn available(all: &[Layer], missing: Vec<MissingLayer>, weak_sandbox: bool) -> Result<Layers, HsmError> {
    for layer in &missing {
        log::say_with(
            log::Event::LayerMissing,
            &[("layer", layer.layer.word().into())],
            format_args!("the sandbox has no layer {}: {}", layer.layer, layer.why),
        );
    }
    if !missing.is_empty() && !weak_sandbox {
        return Err(HsmError::SandboxIncomplete(missing));
    }
    let present: Vec<Layer> =
        all.iter().copied().filter(|layer| missing.iter().all(|missing| missing.layer != *layer)).collect();
    Ok(Layers::of(&present))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i7_a_machine_whose_memory_may_swap_is_refused_or_named() {
        let missing = || vec![MissingLayer { layer: Layer::MemoryLock, why: "raise the limit".to_owned() }];
        let refused = available(&vm::LAYERS, missing(), false).unwrap_err();
        assert_eq!((refused.word(), refused.exit_code()), ("sandbox-incomplete", 5));
        assert!(refused.to_string().contains("missing memory-lock: raise the limit"), "{refused}");
        let weak = available(&vm::LAYERS, missing(), true).unwrap();
        assert_eq!(weak.missing_words(&vm::LAYERS), ["memory-lock"]);
        assert!(!weak.has(Layer::MemoryLock) && weak.has(Layer::Seccomp));
    }
}
