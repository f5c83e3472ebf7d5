//! What the plugin runs in: a process in a sandbox, or a virtual machine. The fuses say which, for the HSM's life.

use crate::fuses::{self, Fuses};
use crate::home::Home;
use crate::image::SealedImage;
use crate::sandbox::verify::{self, Found};
use crate::sandbox::{self, Launched, Layer, Layers};
use crate::vm::{self, Acceleration, Platform};
use crate::{HsmError, log};

/// A boundary that is ready to take the plugin.
#[derive(Debug)]
pub enum Boundary {
    /// A process in these layers.
    Process(Layers),
    /// A machine that starts with this.
    Machine(Platform, Acceleration),
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
            return Ok(Self::Process(available_layers(weak_sandbox)?));
        };
        let platform = Platform::load(&home.ceremony())?;
        if *platform.measurement() == pinned {
            return Ok(Self::Machine(platform, acceleration));
        }
        Err(HsmError::Home(
            "the kernel or the first root of the virtual machine is not the one that the HSM was initialised with; put it back".into(),
        ))
    }

    /// Starts the plugin. The calling thread must live as long as the plugin may.
    pub fn launch(&self, image: &SealedImage) -> Result<Launched, HsmError> {
        match self {
            Self::Process(layers) => sandbox::launch(image, layers),
            Self::Machine(platform, acceleration) => vm::launch(image, platform, *acceleration),
        }
    }

    /// Asks the kernel whether the plugin is there, in its layers. Into a machine nobody can look from outside: what starts the plugin
    /// there gives everything up before it does, or stops.
    pub fn verify(&self, child_pid: u32) -> Result<Found, HsmError> {
        match self {
            Self::Process(layers) => verify::verify(child_pid, layers),
            Self::Machine(..) => Ok(Found::Confined),
        }
    }

    /// What holds around the plugin.
    pub fn in_force(&self) -> InForce {
        let words = |layers: &[Layer]| layers.iter().map(ToString::to_string).collect();
        match self {
            Self::Process(layers) => InForce {
                boundary: "process",
                layers: words(layers.present()),
                missing: layers.missing_words(),
            },
            Self::Machine(..) => InForce { boundary: "vm", layers: words(&vm::LAYERS), missing: Vec::new() },
        }
    }
}

fn available_layers(weak_sandbox: bool) -> Result<Layers, HsmError> {
    let missing = sandbox::probe()?;
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
    let present: Vec<Layer> = Layer::ALL
        .into_iter()
        .filter(|layer| missing.iter().all(|missing| missing.layer != *layer))
        .collect();
    Ok(Layers::of(&present))
}
