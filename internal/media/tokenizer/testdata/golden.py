"""Writes tokenizers and the ids that they give, for TestIDsAreThoseOfPython.

usage: golden.py DIRECTORY SENTENCES

Needs the package tokenizers (0.23.3 made the files in testdata). The sentences are put
together from words of many scripts; the tokenizers are trained on such sentences.
"""
import base64
import json
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

WORDS = {
 "en": "the quick brown fox jumps over a lazy dog I'm you'll don't we've it's she'd running unbelievable internationalization e-mail naïve café co-operate state-of-the-art U.S.A. 3.14 1,000,000 50% $9.99 #tag @name http://example.org/a?b=c&d=1 C++ rock'n'roll".split(),
 "de": "Straße Mädchen Übermut größer Äpfel Donaudampfschifffahrt schön weiß für möglich Rechtsschutzversicherung ÖL".split(),
 "fr": "l'été où garçon élève naïf cœur français déjà-vu aujourd'hui Noël ÇA".split(),
 "ru": "быстрая коричневая лиса прыгает через ленивую собаку ёлка МОСКВА объект съёмка".split(),
 "el": "γρήγορη καφέ αλεπού πηδάει ΆΝΘΡΩΠΟΣ Σίσυφος ψυχή ὕδωρ".split(),
 "tr": "İstanbul ışık çiçek ğ şeker IĞDIR".split(),
 "vi": "tiếng Việt đường phở Nguyễn".split(),
 "ar": "السلام عليكم كيف حالك مرحبا ١٢٣ لا إِلَٰه".split(),
 "he": "שלום עולם מה נשמע בְּרֵאשִׁית".split(),
 "hi": "नमस्ते दुनिया कैसे हैं आप क्षत्रिय १२३ हिन्दी".split(),
 "th": "สวัสดีชาวโลก ภาษาไทย กำลัง น้ำ".split(),
 "zh": "你好世界 我喜欢机器学习 北京大学 今天天气很好。 「引号」 ，逗号 𠀀𠮷".split(),
 "ja": "こんにちは世界 カタカナ ひらがな 東京タワー ガギグ がぎぐ ｱｲｳ ㍿ ①②".split(),
 "ko": "안녕하세요 세계 한국어 각각 똠방각하".split(),
 "emoji": "😀 👍🏽 👨‍👩‍👧‍👦 🇩🇪 ❤️ ☕ 1️⃣ ™ © ½ ﬁn Ⅷ x² H₂O ℃ № ﷺ".split(),
 "odd": ["\u00a0", "\t", "\n", "\r\n", "  ", "\u2003", "\u200b", "\u200d", "\ufeff", "\u00ad", "\u0000", "\u0001", "\u007f", "\u0085", "\u2028", "e\u0301", "n\u0303o", "\u1100\u1161\u11a8", "\ufffd", "\ue000", "...", "!!", "--", "''", "``", "_", "^", "~", "<", ">", "|", "\\", "[CLS]", "[MASK]", "</s>", "<|endoftext|>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "١٬٠٠٠", "2nd", "x=y+1;", "don’t", "“quoted”", "<left>", "<right>", "<both>", " <left> ", " <right> ", " <both>  ", "The Fox", "the fox", "Été", "étéx", "fox", "foxes", "<0x41>", "–", "—", "…"],
}
def make(n, seed):
    r = random.Random(seed)
    out = ["", " ", "a", "\n\n", "  leading and trailing  "]
    langs = list(WORDS)
    while len(out) < n:
        kinds = r.sample(langs, r.choice([1, 1, 1, 2, 3]))
        words = [r.choice(WORDS[r.choice(kinds)]) for _ in range(r.randint(1, 14))]
        s = ""
        for w in words:
            if r.random() < .15: w = w.upper()
            s += w + r.choice([" "]*8 + ["", ", ", ". ", "  ", "! "])
        out.append(s if r.random() < .3 else s.strip(" "))
    return out[:n]


corpus = make(20000, 7)


def bert():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=800, special_tokens=["[PAD]","[UNK]","[CLS]","[SEP]","[MASK]"], limit_alphabet=500))
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return t


def cased():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False, handle_chinese_chars=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=900, special_tokens=["[PAD]","[UNK]","[CLS]","[SEP]","[MASK]"], limit_alphabet=500))
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return t


def gpt2():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=900, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.ByteLevel(trim_offsets=True)
    t.add_tokens([AddedToken("fox", single_word=True), AddedToken("<left>", lstrip=True), AddedToken("<right>", rstrip=True, special=True), AddedToken("<both>", lstrip=True, rstrip=True)])
    return t


def roberta():
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=700, special_tokens=["<s>","<pad>","</s>","<unk>","<mask>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return t


CL = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def llama3():
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CL), "isolated", invert=False), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=900, special_tokens=["<|begin|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    return t


def unigram():
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    t.train_from_iterator(corpus, trainers.UnigramTrainer(vocab_size=800, special_tokens=["<s>","<pad>","</s>","<unk>"], unk_token="<unk>"))
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return t


def llama2():
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    t.train_from_iterator(corpus[:3000], trainers.BpeTrainer(vocab_size=1000, max_token_length=12, limit_alphabet=200,
                          special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return t


def words():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation()])
    t.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=600, special_tokens=["[PAD]", "[UNK]"], limit_alphabet=300))
    t.add_tokens([AddedToken("The Fox", normalized=True), AddedToken("\u00c9t\u00e9", normalized=True, single_word=True)])
    return t


# The table of a SentencePiece model that was trained with a few rules of its own, such as the sign for a trade mark to TM.
TABLE = (
    "AAQAAAAgAAAJDQAAAQAAgMwYAgCBBQAAGwAAgKARAAAAAACAsAkAAAkAAIAUAACArTEAAKTMAgCyjAMA4JQCAKSEAgC+BQAAJQAA"
    "gIQEAgCAnAMAsnUAAOEcAgChvAMAhYACAOEcAgCGrAIAqAUAADEAAIADAACApgUAAKIFAAAOAACAgGwCAKMNAAALAACAoBUAAIRg"
    "AgCFnAIABwAAgI4AAgCPBQAAGAAAgBEAAICBBQAArBgCALoNAAAeAACAKQAAgIvJAACRyAIAtgUAAC0AAIA1AAAANAAAALJlAAC3"
    "gAIAg+kAADgAAAA7AAAAOgAAAD0AAAC95AIAPwAAAD4AAABBAAAAQAAAAEMAAABCAAAARQAAAEQAAABHAAAARgAAAEkAAABIAAAA"
    "SwAAAEoAAABNAAAATAAAAE8AAABOAAAAUQAAAFAAAABTAAAAUgAAAFUAAABUAAAAVwAAAFYAAABZAAAAWAAAAFsAAABaAAAAXQAA"
    "AFwAAABfAAAAXgAAAGEAAABgAAAAYwAAAGIAAABlAAAAZAAAAGcAAABmAAAAaQAAAGgAAABrAAAAagAAAG0AAABliAIAbwAAAG4A"
    "AABxAAAAcAAAAHMAAAByAAAAdQAAAHQAAAB3AAAAdgAAAHkAAAB4AAAAewAAAHoAAAB9AAAAfAAAAH8AAAB+AAAAgQAAAIAAAACD"
    "AAAAggAAAIUAAACEAAAAhwAAAIYAAACJAAAAiAAAAIsAAACKAAAAjQAAAIwAAACPAAAAjgAAAJEAAACQAAAAkwAAAJIAAACVAAAA"
    "lAAAAJcAAACWAAAAmQAAAJgAAACbAAAAmgAAAJ0AAACcAAAAnwAAAJ4AAAChAAAAoAAAAKMAAACiAAAApQAAAKQAAACnAAAApgAA"
    "AKkAAACoAAAAqwAAAKoAAACtAAAArAAAAK8AAACuAAAAsQAAALAAAACzAAAAsgAAALUAAAC0AAAAtwAAALYAAAC5AAAAuAAAALsA"
    "AAC6AAAAvQAAALwAAAC/AAAAvgAAAMEAAADAAAAAwwAAAMIAAADFAAAAxAAAAMcAAADGAAAAyQAAAMgAAADCsAEAygAAAMTQAQDM"
    "AAAAzwAAAM4AAADRAAAA0AAAANMAAADSAAAA1QAAANQAAADXAAAA1gAAANkAAADYAAAA2wAAANoAAADdAAAA3AAAAN8AAADeAAAA"
    "4QAAAOAAAADjAAAA4gAAAOUAAADkAAAA5wAAAO+cAQDgAAEA4fwBAOIoAQDjCAEA7QAAAOwAAADvAAAA7gAAAPEAAADwAAAA8wAA"
    "APIAAAD1AAAA9AAAAPcAAAD2AAAA+QAAAPgAAAD7AAAA+gAAAP0AAAD8AAAA/wAAAP4AAAAAIAAuLi4AMQAyAElWAFRNAGZpAGnM"
    "hwBrZwDDqQDYtdmE2YkA4KSyAOOCpADjgqsA6rCBAA=="
)


def sentencepiece():
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.Precompiled(base64.b64decode(TABLE)), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")])
    t.train_from_iterator(corpus, trainers.UnigramTrainer(vocab_size=700, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>"))
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return t


def main():
    directory, n = sys.argv[1], int(sys.argv[2])
    for make_one in (bert, cased, words, gpt2, roberta, llama3, llama2, unigram, sentencepiece):
        name = make_one.__name__
        t = make_one()
        t.save(f"{directory}/{name}.json", pretty=False)
        t = Tokenizer.from_file(f"{directory}/{name}.json")
        sentences = make(n, 5)
        ids = [t.encode(s).ids for s in sentences]
        t.enable_truncation(8)
        cut = [t.encode(s).ids for s in sentences]
        with open(f"{directory}/{name}.ids.json", "w") as f:
            rows = [json.dumps({"text": s, "ids": i, "cut": c}, separators=(",", ":")) for s, i, c in zip(sentences, ids, cut)]
            f.write("[\n" + ",\n".join(rows) + "\n]\n")


main()
