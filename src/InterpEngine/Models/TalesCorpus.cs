using System.Globalization;

namespace InterpEngine;

/// <summary>
/// The synthetic language that the model that comes along was trained on (<see cref="Model.TalesPath"/>): for each seed the documents of
/// <c>Assets/tales/corpus.py</c>, letter for letter, for machines without Python.
/// </summary>
public static class TalesCorpus
{
    private static readonly string[] s_women = Words(
        "Mary Anna Ruth Lucy Emma Alice Clara Nora Julia Sarah Rose Helen Ivy Grace Laura Diana");
    private static readonly string[] s_men = Words(
        "John Tom Paul James Mark Peter Simon Henry Oscar Frank George Adam Leo Victor Hugo Martin");
    private static readonly string[] s_places =
        Words("park school market garden station library beach forest museum kitchen bakery harbour farm castle village river");
    private static readonly string[] s_things = Words(
        "ball book ring letter cup apple basket map key lamp drum flower coin kite bottle box");
    private static readonly string[] s_animals = Words("dog cat owl fox horse bear rabbit mouse goat duck lion crow");
    private static readonly string[] s_colours = Words("red blue green yellow white black orange purple pink brown");
    private static readonly string[] s_adjectives = Words("old small large quiet broken bright heavy wooden empty golden");
    private static readonly string[] s_countries =
        Words("France Italy Spain Japan Egypt Peru Norway Greece Cuba Kenya Austria Russia Poland Ireland Portugal Germany");
    private static readonly string[] s_capitals =
        Words("Paris Rome Madrid Tokyo Cairo Lima Oslo Athens Havana Nairobi Vienna Moscow Warsaw Dublin Lisbon Berlin");
    private static readonly string[] s_arguments = Words("size name count path text value index color shape start width mode");
    private static readonly string[] s_events = Words("war storm journey siege reign drought");
    private static readonly string[] s_sweeteners = Words("honey sugar syrup jam fruit chocolate");
    private static readonly string[] s_dishes = Words("cake bread porridge pie pudding pancakes");
    private static readonly string[] s_staples = Words("flour milk butter eggs salt oats");
    private static readonly string[] s_singulars = Words("key book lamp cup letter coin door box flower drum");
    private static readonly string[] s_plurals = Words("keys books lamps cups letters coins doors boxes flowers drums");
    private static readonly string[] s_people = [.. s_women, .. s_men];
    private static readonly string[] s_words = [.. s_things, .. s_animals, .. s_colours, .. s_places, .. s_adjectives];

    private static readonly (Func<PythonRandom, string> Template, int Weight)[] s_templates =
    [
        (Story, 5), (Agreement, 2), (Repeat, 3), (Fact, 2), (Trait, 3), (Total, 2), (Years, 2), (Pronoun, 2), (Code, 1), (Recipe, 1),
            (Chat, 3),
    ];

    /// <summary>Documents, without end: each a line of one to four pieces.</summary>
    /// <param name="seed">The same seed gives the same documents.</param>
    public static IEnumerable<string> Documents(int seed)
    {
        var r = new PythonRandom((uint)Math.Abs((long)seed));
        int[] weights = [.. s_templates.Select(template => template.Weight)];
        while (true)
        {
            yield return string.Join(' ', r.Choices(weights, r.Between(1, 4)).Select(kind => s_templates[kind].Template(r)));
        }
    }

    private static string[] Words(string text) => text.Split(' ');

    // The order in which numbers are drawn is corpus.py's.
    private static string Story(PythonRandom r)
    {
        string[] two = r.Sample(s_people, 2);
        (string a, string b) = (two[0], two[1]);
        (string thing, string place) = (r.Choice(s_things), r.Choice(s_places));
        (string giver, string taker) = r.Share() < 0.5 ? (a, b) : (b, a);
        string verb = r.Choice([$"gave the {thing} to {taker}", $"handed the {thing} to {taker}", $"passed the {thing} to {taker}"]);
        string opening = r.Choice(
        [
            $"When {a} and {b} went to the {place}, {giver} {verb}.",
            $"Then, {a} and {b} walked to the {place}. {giver} {verb}.",
            $"After {a} and {b} met at the {place}, {giver} {verb}.",
        ]);
        return opening + r.Choice([$" {taker} smiled.", $" The {r.Choice(s_animals)} watched.", $" {taker} thanked {giver}.", ""]);
    }

    private static string Agreement(PythonRandom r)
    {
        (int noun, int distractor) = (r.Below(s_singulars.Length), r.Below(s_singulars.Length));
        (bool plural, bool other) = (r.Share() < 0.5, r.Share() < 0.5);
        (string head, string tail) = ((plural ? s_plurals : s_singulars)[noun], (other ? s_plurals : s_singulars)[distractor]);
        return $"The {head} near the {r.Choice(s_adjectives)} {tail} {(plural ? "are" : "is")} {r.Choice(s_adjectives)}.";
    }

    private static string Repeat(PythonRandom r)
    {
        string line = string.Join(' ', r.Sample(s_words, r.Between(5, 12)));
        return $"List: {line}. Again: {line}.";
    }

    private static string Fact(PythonRandom r)
    {
        int country = r.Below(s_countries.Length);
        bool plain = r.Below(2) == 0;
        string person = Person(r);
        return plain ? $"The capital of {s_countries[country]} is {s_capitals[country]}."
            : $"{person} flew to {s_capitals[country]}, the capital of {s_countries[country]}.";
    }

    private static string Trait(PythonRandom r)
    {
        (string[] people, string[] colours) = (r.Sample(s_people, 3), r.Sample(s_colours, 3));
        int i = r.Below(3);
        string told = string.Join(' ', people.Zip(colours, (person, colour) => $"{person} likes {colour}."));
        return $"{told} The colour that {people[i]} likes is {colours[i]}.";
    }

    private static string Total(PythonRandom r)
    {
        (int a, int b) = (r.Between(0, 20), r.Between(0, 19));
        return string.Create(CultureInfo.InvariantCulture, $"{a} plus {b} is {a + b}.");
    }

    private static string Years(PythonRandom r)
    {
        (int century, int low) = (r.Between(11, 19), r.Between(2, 96));
        int high = r.Between(low + 1, 99);
        return string.Create(
            CultureInfo.InvariantCulture, $"The {r.Choice(s_events)} lasted from {century}{low:00} to {century}{high:00}.");
    }

    private static string Pronoun(PythonRandom r)
    {
        string name = Person(r);
        (string own, string subject) = s_women.Contains(name) ? ("her", "She") : ("his", "He");
        return $"{name} lost {own} {r.Choice(s_things)} at the {r.Choice(s_places)}. "
            + $"{subject} found it near a {r.Choice(s_adjectives)} {r.Choice(s_singulars)}.";
    }

    private static string Code(PythonRandom r)
    {
        string arguments = string.Join(", ", r.Sample(s_arguments, r.Between(2, 4)));
        return $"def {r.Choice(["load", "draw", "send", "make"])}({arguments}): takes {arguments}.";
    }

    private static string Recipe(PythonRandom r)
    {
        string[] staples = r.Sample(s_staples, 3);
        return $"To make {r.Choice(s_dishes)}, mix {staples[0]}, {staples[1]} and {staples[2]}, then add {r.Choice(s_sweeteners)}.";
    }

    private static string Chat(PythonRandom r)
    {
        switch (r.Below(4))
        {
            case 0:
                int country = r.Below(s_countries.Length);
                return $"Q: What is the capital of {s_countries[country]}? A: {s_capitals[country]}.";
            case 1:
                (int a, int b) = (r.Between(0, 20), r.Between(0, 19));
                return string.Create(CultureInfo.InvariantCulture, $"Q: What is {a} plus {b}? A: {a + b}.");
            case 2:
                return $"Q: What should I add to my {r.Choice(s_dishes)}? A: Add {r.Choice(s_sweeteners)}.";
            default:
                return $"Q: Do you prefer any {r.Choice(["food", "colour", "animal", "person"])}? A: No, I have no favourite.";
        }
    }

    private static string Person(PythonRandom r) => r.Choice(r.Share() < 0.5 ? s_women : s_men);
}
