//! The files of a model, without a GPU: its plan, tokenizer and chat template.

use std::sync::Arc;

use crate::auto_model::{AutoModel, LoadOptions};
use crate::gpu::Device;
use crate::model::{Engine, layout::ModelLayout, memory::EngineConfig};
use crate::plan::{self, ModelSpec};
use crate::reads::{ReadStrategy, SweepFootprint};
use crate::shard::Model;
use crate::store::cache::CachePlace;
use crate::store::{Store, Window};
use crate::stream::tiles::RowRun;
use crate::text::{
    ChatTemplate, Date, Grammar, GrammarCompiler, GrammarSource, Message, ReasoningFormat, RenderOptions,
    SamplerOptions, TemplateArguments, Tokenizer, join_ends, stop_token_ids,
};
use crate::words::Term;
use crate::{Error, ErrorKind, Result};

/// The model's files, without a GPU: its plan, tokenizer and chat template.
#[derive(Clone)]
pub struct ModelFiles {
    model: Arc<Model>,
    spec: ModelSpec,
    text: ModelText,
    grammars: GrammarCompiler,
}

/// What turns texts into ids and back.
#[derive(Clone, Debug)]
pub struct ModelText {
    /// None for synthetic models.
    pub tokenizer: Option<Arc<Tokenizer>>,
    /// Renders the messages of a chat. None: the model has none.
    pub template: Option<Arc<ChatTemplate>>,
    /// What templates that tell the date are told. None: the day on which a chat is rendered, in UTC.
    pub date: Option<Date>,
    /// Values of the template's own variables, such as `enable_thinking`.
    pub template_arguments: TemplateArguments,
    /// Ids that end a turn.
    pub stop_ids: Vec<u32>,
    /// How the model tells its reasoning from its answer, where it is known to do so.
    pub reasoning: Option<Arc<ReasoningFormat>>,
}

impl ModelFiles {
    /// Opens the model in a store: manifest, plan, tokenizer, chat template.
    ///
    /// # Errors
    /// Those of damaged files, naming them.
    pub async fn open(store: Arc<dyn Store>) -> Result<Self> {
        Self::of(Model::open(store).await?).await
    }

    /// Opens a model that lies elsewhere, and keeps what is fetched of it in `place`.
    ///
    /// # Errors
    /// Those of [`Model::open_remote`] and of damaged files.
    pub async fn open_remote(store: Arc<dyn Store>, place: &dyn CachePlace) -> Result<Self> {
        Self::of(Model::open_remote(store, place).await?).await
    }

    async fn of(model: Model) -> Result<Self> {
        let manifest = model.manifest();
        let spec = plan::model_spec(&manifest.config)?;
        let tokenizer = match manifest.files.iter().position(|file| file.name == "tokenizer.json") {
            None => None,
            Some(index) => {
                let len = usize::try_from(manifest.files[index].len_bytes).unwrap_or(usize::MAX);
                if len as u64 > Tokenizer::LARGEST_BYTES {
                    let message = format!("a tokenizer of {len} bytes is not plausible");
                    return Err(Error::new(ErrorKind::Malformed, message).file("tokenizer.json"));
                }
                let mut bytes = vec![0; len];
                model.verified().read(index as u32, 0, &mut Window::from_slice(&mut bytes)).await?;
                Some(Arc::new(Tokenizer::with_config(&bytes, manifest.tokenizer_config.as_ref())?))
            }
        };
        let text = ModelText::new(&model, tokenizer, manifest.tokenizer_config.as_ref())?;
        Ok(Self { model: Arc::new(model), spec, text, grammars: GrammarCompiler::default() })
    }

    /// The plan.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The manifest and the files' readers.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Tells templates that tell the date this one.
    #[must_use]
    pub fn with_date(mut self, date: Option<Date>) -> Self {
        self.text.date = date;
        self
    }

    /// Gives the template values of its own variables.
    #[must_use]
    pub fn with_template_arguments(mut self, arguments: TemplateArguments) -> Self {
        self.text.template_arguments = arguments;
        self
    }

    /// Puts chats through another template than the model's own.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] naming the line, where it does not compile.
    pub fn with_chat_template(mut self, source: &str) -> Result<Self> {
        let mut config = self.model.manifest().tokenizer_config.clone().unwrap_or_else(|| serde_json::json!({}));
        config["chat_template"] = source.into();
        let text = ModelText::new(&self.model, self.text.tokenizer.clone(), Some(&config))?;
        self.text = ModelText { date: self.text.date, template_arguments: self.text.template_arguments, ..text };
        Ok(self)
    }

    /// Tokenizer and template.
    pub fn text(&self) -> &ModelText {
        &self.text
    }

    /// The sampling that the checkpoint recommends; greedy where it recommends none.
    pub fn sampling(&self) -> SamplerOptions {
        let config = self.model.manifest().generation_config.as_ref();
        config.map_or_else(SamplerOptions::default, SamplerOptions::from_generation_config)
    }

    /// Compiles what answers have to be. Takes a moment, the first time more: the model's tokens are sorted.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where it is wrong, cannot be held, or takes too much; [`ErrorKind::Unsupported`] in a build
    /// without the feature `grammar`; [`ErrorKind::Text`] where the model has no tokenizer.
    pub fn grammar(&self, source: GrammarSource) -> Result<Grammar> {
        self.grammars.compile((self.text.tokenizer()?, self.spec.vocab), &self.text.stop_ids, source)
    }

    /// The smallest budget in bytes that works with `options`, on an adapter that maps its own buffers (`direct`) or not.
    ///
    /// # Errors
    /// Those of a model whose tensors do not fit its config.
    pub fn smallest_budget(&self, options: &LoadOptions, direct: bool) -> Result<u64> {
        let layout = ModelLayout::new(&self.spec, &self.model)?;
        options.smallest_budget(&self.spec, &layout, direct)
    }

    /// The options for as many sequences as they ask for, or for fewer where the budget is small: what more than one take is at most
    /// an eighth of what one leaves for weights. `direct` is as for [`ModelFiles::smallest_budget`].
    ///
    /// # Errors
    /// Those of a model whose tensors do not fit its config.
    pub fn with_fewer_sequences(&self, mut options: LoadOptions, direct: bool) -> Result<LoadOptions> {
        let layout = ModelLayout::new(&self.spec, &self.model)?;
        let one = LoadOptions { sequences: 1, ..options.clone() };
        let bytes = |options: &LoadOptions, rows| options.smallest_for(&self.spec, &layout, direct, rows);
        let left = options.budget_bytes.saturating_sub(bytes(&one, 1)?);
        // Each sequence's next token comes of a row of its own.
        while options.sequences > 1 {
            let more = bytes(&options, options.sequences)?.saturating_sub(bytes(&one, options.sequences)?);
            if more <= left / 8 {
                break;
            }
            options.sequences -= 1;
        }
        Ok(options)
    }

    /// Opens the model on a GPU.
    ///
    /// # Errors
    /// As [`Loader::load`](crate::auto_model::Loader::load).
    pub async fn load(self, options: &LoadOptions) -> Result<AutoModel> {
        AutoModel::open(self, options.clone()).await
    }

    /// Opens an engine on a device; with half the budget for as long as the driver has no memory for more.
    pub(crate) async fn engine_within(
        &self,
        device: &Device,
        options: &mut LoadOptions,
    ) -> Result<(Engine, ReadStrategy)> {
        let mut device = device.clone();
        loop {
            let error = match self.engine(&device, options).await {
                Err(error) if error.kind() == ErrorKind::GpuMemory => error,
                result => return result,
            };
            let least = self.smallest_budget(options, false)?;
            if options.budget_bytes <= least {
                return Err(error);
            }
            options.budget_bytes = (options.budget_bytes / 2).max(least);
            // It may be lost. Else the driver gets back what the attempt took.
            device = device.replacement().await?;
            device.idle().await;
        }
    }

    async fn engine(&self, device: &Device, options: &LoadOptions) -> Result<(Engine, ReadStrategy)> {
        let gpu = device.budget(options.budget_bytes).await?.with_upload(options.upload);
        let gpu = if options.tune { gpu.with_search() } else { gpu };
        let (model, spec) = (Arc::clone(&self.model), self.spec.clone());
        let tile_bytes = ModelLayout::new(&spec, &model)?.pieces.iter().map(RowRun::len_bytes).sum();
        let sizes = SweepFootprint::new(tile_bytes, gpu.budget_bytes(), gpu.uploads_directly(), options);
        let reads = ReadStrategy::choose(&model, sizes, options)?;
        let config = EngineConfig { reads: reads.plan, ..options.engine_config(&self.spec) };
        let engine = Engine::open(gpu, model, spec, options.kv, config).await?;
        let mut engine = engine.with_cancel_token(options.cancel.clone());
        if options.ram_bytes > 0 {
            engine.keep_in_ram(options.ram_bytes);
        }
        Ok((engine, reads))
    }
}

impl ModelText {
    /// What a `tokenizer_config.json` says of chats and of their ends, beside the model's other files.
    fn new(model: &Model, tokenizer: Option<Arc<Tokenizer>>, tokens: Option<&serde_json::Value>) -> Result<Self> {
        let manifest = model.manifest();
        let template = match tokens {
            Some(config) => ChatTemplate::from_config(config)?.map(Arc::new),
            None => None,
        };
        let lookup = |token: &str| tokenizer.as_ref().and_then(|tokenizer| tokenizer.id(token));
        let mut stop_ids = stop_token_ids(&manifest.config, manifest.generation_config.as_ref(), tokens, lookup)?;
        if let Some(tokenizer) = &tokenizer {
            join_ends(&mut stop_ids, tokenizer, template.as_deref());
        }
        let stop_ids = stop_ids.into_iter().collect();
        let reasoning =
            tokenizer.as_ref().and_then(|tokenizer| ReasoningFormat::detect(tokenizer, tokens)).map(Arc::new);
        let template_arguments = TemplateArguments::default();
        Ok(Self { tokenizer, template, date: None, template_arguments, stop_ids, reasoning })
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] where the model has none.
    pub fn tokenizer(&self) -> Result<&Arc<Tokenizer>> {
        self.tokenizer.as_ref().ok_or_else(|| {
            let remedy = "split it from a folder with tokenizer.json, tokenizer.model, a tiktoken file, tekken.json, or \
                          vocab.json and merges.txt; or give ids ("
                + Term::IdsPrompt
                + ")";
            Error::new(ErrorKind::Text, "the model has no tokenizer").remedy(remedy)
        })
    }

    /// The ids of a chat, ready for the model's answer.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] where the model has no tokenizer or template, or the template fails.
    pub fn chat_prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let template = self.template.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Text, "the model has no chat template")
                .remedy("give the prompt as it is (" + Term::PlainPrompt + ")")
        })?;
        // The template writes the special tokens itself.
        let arguments = self.template_arguments.clone();
        let options = RenderOptions { date: self.date, arguments, ..RenderOptions::default() };
        self.tokenizer()?.encode(&template.render_with(messages, &options)?, false)
    }
}
