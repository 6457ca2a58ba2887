using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Kernels;
using InterpEngine.Models;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = InterpEngine.Kernels.Tensor;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>Training steps and encoding of TopK dictionaries against libtorch's dense ones, and against what they are made of.</summary>
internal static class DictionaryComparisons
{
    private const double Rate = 1e-4;

    /// <summary>Rows, width, features, k, and the bars of a step in fp32 and in BF16.</summary>
    private static readonly (int Rows, int Width, int Features, int K, double? Bar, double? Bf16Bar)[] Shapes =
        [(2048, 768, 16384, 32, 6, 4), (4096, 512, 4096, 64, null, null), (1024, 128, 1024, 4, null, null)];

    public static void Single(Session session)
    {
        (int rows, int width, int features, int k, double? bar, _) = Shapes[0];

        // Code is no part of the memory of a step: first until all of it is compiled for good.
        var small = new ShapeComparison(session, 256, 64, 256, k: 4, half: false);
        for (int i = 0; i < 80; i++)
        {
            small.Memory(counted: false);
            Thread.Sleep(i == 59 ? 500 : 0);
        }

        var first = new ShapeComparison(session, rows, width, features, k, half: false);
        first.Memory(counted: true);
        first.CostOfK(4 * k);
        Compare(session, half: false);
    }

    public static void Half(Session session) => Compare(session, half: true);

    /// <summary>A model computes rows and a dictionary learns from them, for one batch of texts.</summary>
    public static void Harvest(Session session)
    {
        const int batch = 8, length = 128, layer = 6;
        using var checkpoint = new RandomCheckpoint(RandomCheckpoint.Gpt2Small);
        using Model model = Model.Load(checkpoint.Folder, session.Device);
        using var other = new TorchGpt2(checkpoint.Folder) { Layers = layer + 1 };
        var shape = new ShapeComparison(session, batch * length, model.Description.Width, 16384, 32, half: false);
        int[] ids = RandomCheckpoint.Tokens(model.Description.Vocabulary, batch, length).Ids.ToArray();
        IEnumerable<int[]> Texts()
        {
            while (true)
            {
                foreach (int[] text in ids.Chunk(length))
                {
                    yield return text;
                }
            }
        }

        using var source = new ShuffledActivations(
            new ModelActivations(model, $"blocks.{layer}.hook_resid_post", Texts(), batch), session.Device, 1, 2 * batch * length);
        using DictionaryTrainer ours = shape.Ours();
        using TorchDictionary theirs = shape.Theirs();
        using torch.Tensor tokens = tensor(ids.Select(id => (long)id).ToArray(), [batch, length]);
        var training = new DictionaryTraining(source, batch * length, ours);
        session.Measure(new Comparison(
            $"harvest and train, GPT-2 small shape, 8×128, {shape.Name}", "libtorch", null,
            () => training.Step(),
            () =>
            {
                using torch.Tensor residual = other.Run(tokens, LogitsWanted.None);
                using torch.Tensor rows = residual.view(-1, model.Description.Width).clone();
                theirs.Step(rows);
            }));
    }

    private static void Compare(Session session, bool half)
    {
        foreach ((int rows, int width, int features, int k, double? bar, double? bf16) in Shapes)
        {
            var shape = new ShapeComparison(session, rows, width, features, k, half);
            shape.Step(half ? bf16 : bar);
            shape.Encode(bar is not null && !half);
        }
    }

    /// <summary>One shape in one precision.</summary>
    private sealed class ShapeComparison(Session session, int rows, int width, int features, int k, bool half)
    {
        private readonly float[] _rows = RandomData.Array((long)rows * width);

        public string Name => $"{rows} rows of {width}, {features} features, k {k}{(half ? ", BF16" : "")}";

        private DictionaryConfig Config { get; } = new()
        {
            InputWidth = width,
            OutputWidth = width,
            Features = features,
            Rule = new(ActivationKind.TopK, k),
            CentersInput = true,
        };

        private ScalarType TorchType => half ? ScalarType.BFloat16 : ScalarType.Float32;

        private string Dense => half ? "libtorch, dense, BF16" : "libtorch, dense";

        public DictionaryTrainer Ours(int? otherK = null, DictionaryParameters? start = null)
        {
            var options = new TrainingOptions { ClipNorm = 1, LearningRate = new() { Rate = Rate }, BFloat16 = half };
            DictionaryConfig config = Config with { Rule = Config.Rule with { K = otherK ?? k } };
            return new DictionaryTrainer(config, start ?? Initialization.Random(config, 1), options, session.Device);
        }

        public TorchDictionary Theirs(DictionaryParameters? start = null) => new(Config, start ?? Initialization.Random(Config, 1), Rate, TorchType);

        public void Step(double? bar)
        {
            using DictionaryTrainer ours = Ours();
            using TorchDictionary theirs = Theirs();
            using Tensor x = session.Device.Upload<float>(_rows, rows, width);
            using torch.Tensor torchX = TorchRows();

            // A comparison is honest only where both compute the same.
            for (int step = 0; step < 2; step++)
            {
                double loss = ours.Step(x).Loss, other = theirs.Step(torchX);
                if (!(Math.Abs(loss - other) <= (half ? 2e-2 : 1e-5) * loss))
                {
                    throw new InvalidOperationException($"{Name}: the loss of step {step} is {loss}, libtorch's {other}.");
                }
            }

            session.Measure(new Comparison($"training step, {Name}", Dense, bar, () => ours.Step(x), () => theirs.Step(torchX)));
        }

        public void CostOfK(int larger)
        {
            using DictionaryTrainer few = Ours(), many = Ours(larger);
            using Tensor x = session.Device.Upload<float>(_rows, rows, width);
            session.Measure(new Comparison(
                $"training step, {Name} and {larger}", $"ours with k {k}", 1 / 1.4, () => many.Step(x), () => few.Step(x)));
        }

        public void Encode(bool judged)
        {
            DictionaryParameters parameters = Initialization.Random(Config, 1);
            ElementType type = half ? ElementType.BF16 : ElementType.F32;
            using var ours = new SparseDictionary(Config, parameters, session.Device, type);
            using TorchDictionary theirs = Theirs();
            using Tensor x = session.Device.Upload<float>(_rows, rows, width), dense = session.Device.Allocate(ElementType.F32, rows, features);
            using torch.Tensor torchX = TorchRows();
            using Weight weight = session.Device.CreateWeight(width, features, type);
            Pack(weight, parameters.Encoder);
            session.Measure(new Comparison(
                $"encode, {Name}", "our plain product", judged ? 0.8 : null,
                () => ours.Encode(x).Dispose(), () => session.Device.Run(new MatMul { X = x, W = weight, Out = dense })));
            session.Measure(new Comparison(
                $"encode, {Name}", half ? "libtorch BF16, product + topk" : "libtorch, product + topk", judged ? 1.7 : null,
                () => ours.Encode(x).Dispose(), () => theirs.EncodeOnly(torchX)));
        }

        /// <summary>Of a trainer and its steps, above what each must hold: weights, two moments, gradients.</summary>
        public void Memory(bool counted)
        {
            long held = 4L * sizeof(float) * (2L * features * width + features + width), dense = sizeof(float) * (long)rows * features;
            using Tensor x = session.Device.Upload<float>(_rows, rows, width);
            using torch.Tensor torchX = TorchRows();
            DictionaryParameters start = Initialization.Random(Config, 1);
            session.Device.Arena.Trim();
            long ours = PeakMemory.Of(() =>
            {
                using DictionaryTrainer trainer = Ours(start: start);
                for (int step = 0; step < 3; step++)
                {
                    trainer.Step(x);
                }
            });
            session.Device.Arena.Trim();
            long theirs = PeakMemory.Of(() =>
            {
                using TorchDictionary trainer = Theirs(start);
                for (int step = 0; step < 3; step++)
                {
                    trainer.Step(torchX);
                }
            });
            if (!counted)
            {
                return;
            }

            session.Memory.Add((
                $"training step, {Name}, above weights, moments and gradients ({held >> 20} MiB); the dense matrix has {dense >> 20} MiB",
                ours - held, theirs - held));
            GC.KeepAlive(start);
        }

        private torch.Tensor TorchRows()
        {
            using torch.Tensor single = tensor(_rows, [rows, width]);
            return single.to(TorchType, copy: true);
        }

        private unsafe void Pack(Weight weight, float[] directions)
        {
            fixed (float* first = directions)
            {
                session.Device.Pack(weight, new WeightBlock((nint)first, ElementType.F32, width, features, 1, width));
            }
        }
    }
}
