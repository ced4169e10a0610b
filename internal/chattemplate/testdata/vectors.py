# Writes vectors.json: what Jinja makes of these templates, with the settings that the
# transformers library has for chats. Run with Jinja 3.1: python3 vectors.py
import datetime, json, os
import jinja2, jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

here = os.path.dirname(os.path.abspath(__file__))

def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)

def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = lambda f: datetime.datetime(2024, 7, 6, 5, 4, 3).strftime(f)

tools = [{"type": "function", "function": {"name": "look", "description": "Looks\nup.", "parameters": {"type": "object", "required": ["at"], "properties": {
    "at": {"type": "string"}, "n": {"type": "integer", "minimum": 0.5, "default": 1e20}, "how": {"enum": ["a", "<é>", 1]},
    "l": {"type": "array", "items": {"type": "object", "properties": {"x": {}}}}}}}}]
system = {"role": "system", "content": " Be brief. "}
user = {"role": "user", "content": "What is 'é'?\n<b> \\ \" "}
calls = {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"at": "sky", "n": 2}}}]}
two = {"role": "assistant", "content": "Hm", "tool_calls": calls["tool_calls"] + [{"id": "c2", "type": "function", "function": {"name": "ask", "arguments": {}}}]}
result = {"role": "tool", "tool_call_id": "c1", "content": "blue"}
answer = {"role": "assistant", "content": "<think>\nwell\n</think>\n\nIt is blue."}
chats = [
    {"messages": [user]},
    {"messages": [system, user, {"role": "assistant", "content": "A letter. "}, user]},
    {"messages": [system, user, calls, result, answer, user], "tools": tools},
    {"messages": [user, two, result, result], "tools": tools},
    {"messages": [user, user]},
    {"messages": [user], "chat_template_kwargs": {"enable_thinking": False, "add_generation_prompt": False}},
]

expressions = r"""
{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 4 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 1.5 + 1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}
{{ 1e3 }} {{ 1e16 }} {{ 1e-5 }} {{ 0.1 + 0.2 }} {{ 1_000 }} {{ -3 | abs }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 2.567 | round(2) }} {{ 2.1 | round(0, "ceil") }}
{{ "a" ~ 1 ~ none ~ true ~ 1.0 }} {{ "a" "b" }} {{ 'it''s' }} {{ "\x41\u00e9\n\t\\\"" }} {{ "ab" * 3 }}
{{ [1, "a", none, true, 1.5, {"k": "v'"}] }} {{ (1,) }} {{ (1, 2) }} {{ {} }} {{ "it's" | list }} {{ ['"', "'", '"\''] }}
{{ 1 == 1.0 }} {{ true == 1 }} {{ "1" == 1 }} {{ [1, 2] == [1, 2] }} {{ {"a": 1} == {"a": 1} }} {{ none == false }} {{ 1 < 2 < 3 }} {{ 3 > 2 > 2 }} {{ [1, 2] < [1, 3] }} {{ "a" < "b" }}
{{ 1 in [1, 2] }} {{ "a" in "cat" }} {{ "a" in {"a": 1} }} {{ 3 not in [1] }} {{ not 1 in [1] }} {{ x in [1] }}
{{ true and 0 }} {{ 0 or "x" }} {{ not "" }} {{ 1 if 0 else 2 }} {{ 1 if 0 }} {{ 1 if true else 2 if false else 3 }}
{{ x }} {{ x is defined }} {{ x is undefined }} {{ none is none }} {{ x | default("d") }} {{ "" | default("d") }} {{ "" | default("d", true) }} {{ none | d("e", boolean=true) }}
{{ x.y }}
{{ x["y"] }}
{{ x() }}
{{ messages[9].role }}
{{ messages[9] }} {{ messages[0].nothing }} {{ messages[0]["nothing"] is defined }} {{ messages[-1].role }}
{{ 1 is number }} {{ true is number }} {{ true is integer }} {{ 1 is integer }} {{ 1.0 is float }} {{ "a" is string }} {{ {} is mapping }} {{ [] is mapping }} {{ [] is sequence }} {{ "a" is iterable }} {{ 1 is iterable }} {{ range is callable }} {{ true is boolean }} {{ true is true }} {{ 1 is true }} {{ x is iterable }}
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is eq 1 }} {{ 1 is equalto(2) }} {{ 1 is in [1, 2] }} {{ 2 is gt 1 }} {{ 2 is not lt 1 }} {{ "AB" is upper }} {{ "ab" is lower }} {{ none is sameas none }}
{{ not x is defined }} {{ x is not defined and true }} {{ 1 is defined == true }}
{{ "abc"[1] }} {{ "abc"[-1] }} {{ "abcdef"[1:4] }} {{ "abcdef"[::-1] }} {{ "abcdef"[-2:] }} {{ [1, 2, 3, 4][1:] }} {{ [1, 2, 3, 4][:-1] }} {{ [1, 2, 3][::2] }} {{ [1, 2, 3, 4, 5][4:1:-2] }} {{ [][0:] }} {{ "héllo"[1:3] }} {{ (1, 2, 3)[:2] }} {{ [1,2,3][5:] }} {{ [1,2,3][-9:2] }}
{{ " a b ".strip() }}| {{ " a ".lstrip() }}| {{ " a ".rstrip() }}| {{ "xxaxx".strip("x") }} {{ "a,b,c".split(",") }} {{ "a,b,c".split(",", 1) }} {{ " a  b ".split() }} {{ "a b c".split(None, 1) }} {{ "a,b,c".rsplit(",", 1) }} {{ "a b  c".rsplit(None, 1) }} {{ "abc".split("x") }} {{ "a\nb\n".splitlines() }}
{{ "abc".startswith("ab") }} {{ "abc".endswith(("x", "c")) }} {{ "abcabc".replace("b", "X") }} {{ "abcabc".replace("b", "X", 1) }} {{ "abc".find("c") }} {{ "abc".find("x") }} {{ "éa".find("a") }} {{ "aXa".rfind("a") }} {{ "banana".count("an") }} {{ "abc".index("b") }}
{{ "aBc".upper() }} {{ "aBc".lower() }} {{ "hello world".title() }} {{ "hELLO".capitalize() }} {{ ", ".join(["a", "b"]) }} {{ "prefix-x".removeprefix("prefix-") }} {{ "x.py".removesuffix(".py") }} {{ "12".isdigit() }} {{ "".isdigit() }} {{ "ab1".isalnum() }} {{ "ab".isalpha() }} {{ " ".isspace() }} {{ "AB".isupper() }} {{ "ab".islower() }}
{{ {"a": 1, "b": 2}.items() | list }} {{ {"a": 1}.keys() | list }} {{ {"a": 1}.values() | list }} {{ {"a": 1}.get("a") }} {{ {"a": 1}.get("b") }} {{ {"a": 1}.get("b", 3) }} {{ {"items": 5}["items"] }} {{ {"a": {"b": [1, {"c": 2}]}}.a.b[1].c }} {{ {"a": 1} | items | list }}
{{ [3, 1, 2] | sort }} {{ ["b", "A", "c"] | sort }} {{ ["b", "A"] | sort(case_sensitive=true) }} {{ [3, 1] | sort(reverse=true) }} {{ [{"a": 2}, {"a": 1}] | sort(attribute="a") }} {{ [1, 2, 1, "a", "A"] | unique | list }} {{ [1, 2] | max }} {{ [3, 2] | min }} {{ [1, 2] | sum }} {{ [{"n": 1}, {"n": 2}] | sum(attribute="n") }}
{{ [1, 2, 3] | first }} {{ [1, 2, 3] | last }} {{ "abc" | last }} {{ [] | first }} {{ [1, 2] | reverse | list }} {{ "abc" | reverse }} {{ [1, "b", none] | join("-") }} {{ [{"a": 1}, {"a": 2}] | join(",", attribute="a") }} {{ ["a", "b"] | join }}
{{ [1, 2, 3] | length }} {{ "héé" | count }} {{ {"a": 1} | length }} {{ "ab" | upper | lower | capitalize }} {{ "x y" | title }} {{ 5 | string + "5" }} {{ "5" | int + 1 }} {{ "x" | int }} {{ "x" | int(7) }} {{ "1.5" | float }} {{ 3.9 | int }} {{ "abc" | replace("b", "") }}
{{ [{"r": 1}, {"r": 2}] | map(attribute="r") | list }} {{ ["a", "b"] | map("upper") | list }} {{ [1, 2, 3] | select("odd") | list }} {{ [1, 2, 3] | reject("gt", 1) | list }} {{ [{"r": 1}, {"r": 2}, {}] | selectattr("r", "equalto", 2) | list }} {{ [{"r": 1}, {"r": 2}, {}] | selectattr("r", "defined") | list }} {{ [{"r": 0}, {"r": 2}] | selectattr("r") | list }} {{ [{"r": 0}, {"r": 2}] | rejectattr("r") | list }} {{ [0, 1, ""] | select | list }}
{{ {"b": 1, "a": 2} | dictsort }} {{ "a\nb" | indent }} {{ "a\n\nb" | indent(2, true) }} {{ "<&>" | e }} {{ "<a>" | safe }} {{ " x " | trim }}| {{ "--x-" | trim("-") }}
{{ {"a": "é<\"\n", "b": [1, 2.50, true, none], "c": {}, "d": []} | tojson }} {{ "é😀" | tojson(ensure_ascii=true) }} {{ {"b": 1, "a": 2} | tojson(sort_keys=true) }} {{ {"a": [1]} | tojson(separators=(",", ":")) }} {{ 1e20 | tojson }} {{ "\u007f\u0001" | tojson }}
{{ {"a": [1, {"b": 2}], "c": []} | tojson(indent=2) }}
{{ range(3) | list }} {{ range(1, 4) | list }} {{ range(5, 0, -2) | list }} {{ dict(a=1, b="x") }} {{ namespace(a=1).a }}
{% set ns = namespace(n=0) %}{% for i in [1, 2, 3] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}
{% set a = 1 %}{% for i in [1] %}{% set a = 2 %}{{ a }}{% endfor %}{{ a }} {% if true %}{% set a = 3 %}{% endif %}{{ a }}
{% set a, b = 1, 2 %}{{ a }}{{ b }} {% set t = 1, 2 %}{{ t }} {% set block %}x{{ a }}y{% endset %}{{ block | upper }} {% set up | upper %}abc{% endset %}{{ up }}
{% for k, v in {"a": 1, "b": 2}.items() %}{{ loop.index }}{{ k }}{{ v }}{{ loop.first }}{{ loop.last }}{{ loop.revindex }}{{ loop.length }};{% endfor %}
{% for i in [1, 2, 3, 4] if i % 2 == 0 %}{{ loop.index0 }}{{ i }}{{ loop.previtem }}{{ loop.nextitem }} {% else %}none{% endfor %}{% for i in [] %}x{% else %}empty{% endfor %}
{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{{ loop.cycle("a", "b") }}{{ loop.changed(i // 2) }} {% endfor %}
{% for i in [1, 2] %}{% for j in [3, 4] %}{{ loop.index }}{{ i }}{{ j }} {% endfor %}{{ loop.index }}{% endfor %}
{% macro m(a, b=2, c=b) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c=5) }} {{ m() }} {% set r = m("<x>") %}{{ r }}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% raw %}{{ not this }} {% neither %}{% endraw %} after
  {% raw -%}  x {%- endraw %}  y
a {#- comment -#} b {# another
of two lines #} c
  {% if true %}
  kept
    {% endif %}
tail
{%- if true -%}  a  {%- endif -%}  b
  {%+ if true %} plus {%+ endif %} end
{% if true %} x
{% else %} y
{% endif %}{{ "z" }}
line
{% filter upper %}abc {{ 1 }}{% endfilter %} {{ strftime_now("%d %b %Y %B %m %y %H:%M:%S %A %a %j %p %I %%") }}
{{ raise_exception("no " ~ 1) }}
{{ 1 + "a" }}
{{ "a" + none }}
{{ [] + {} }}
{{ 1 / 0 }}
{{ 1 < "a" }}
{{ 1 | length }}
{% for i in 5 %}{% endfor %}
{{ [1] | map("nothing") | list }}
{{ "a".nothing() }}
{{ messages.append(1) }}
{% set messages.x = 1 %}
{{ {"a": 1}.update({"b": 2}) }}
{{ 1 2 }}
{% if %}{% endif %}
{% for x in %}{% endfor %}
{% unknown %}
{{ "a" | nothing }}
{{ "a" is nothing }}
{% if true %}
{{ "unfinished }}
{{ messages | tojson }} {{ messages[0] }}
{{ messages | map(attribute="role") | join(",") }}{{ bos_token }}{{ eos_token }}{{ tools is none }}{{ documents }}{{ add_generation_prompt }}
""".strip("\n").split("\n")

cases = []
def case(name, template, chat):
    c = {"name": name, "template": template, "chat": chat}
    values = {"tools": None, "documents": None, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}
    values.update({k: v for k, v in chat.items() if k != "chat_template_kwargs"})
    values.update(chat.get("chat_template_kwargs", {}))
    try:
        c["want"] = env.from_string(template).render(**values)
    except Exception as e:
        c["fails"] = str(e)
        c["raised"] = type(e) is jinja2.exceptions.TemplateError
    cases.append(c)

for name in sorted(os.listdir(here + "/models")):
    text = open(here + "/models/" + name).read()
    for i, chat in enumerate(chats):
        case(name + " " + str(i), text, chat)
for i, template in enumerate(expressions):
    case("expression " + str(i), template, {"messages": [user]})
# The white space of lines that stand together.
for name, text in {"blocks": "a\n  {% if true %}\n  kept\n    {% endif %}\ntail\n", "comments": "a\n  {# x #}  \nb {# y #}\nc\n\n",
                   "plus": "a\n  {%+ if true %}\n x\n  {%- endif +%}\n y", "outputs": "a\n  {{ 1 }}\n{{- 2 -}}\n  b\n", "raw": "a\n  {% raw %}\n {{ x }}\n  {% endraw %}\n b"}.items():
    case("space " + name, text, {"messages": [user]})
json.dump(cases, open(here + "/vectors.json", "w"), ensure_ascii=False, indent=1)
print(len(cases), sum("fails" in c for c in cases))
