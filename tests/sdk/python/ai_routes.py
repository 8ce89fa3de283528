"""openai: which resource answers for which model, over http and https, against scripted answers (aimock)."""

import os
import ssl

import openai

import bed
from bed import Case, through_aqueduct

ASK = [{"role": "user", "content": "hello"}]


def client(scheme="http", key=None):
    url = os.environ["AQUEDUCT_AI_URL" if scheme == "http" else "AQUEDUCT_AI_URL_TLS"]
    verify = ssl.create_default_context(cafile=os.environ["AQUEDUCT_CA"]) if scheme == "https" else True
    return openai.OpenAI(
        base_url=url,
        api_key=key or os.environ["AQUEDUCT_AI_KEY"],
        max_retries=0,
        timeout=30,
        http_client=openai.DefaultHttpxClient(verify=verify),
    )


@through_aqueduct
class Routes(Case):
    def test_models_of_all_resources_and_aliases_are_listed(self):
        found = {model.id for model in client().models.list()}
        expected = {"tiny", "fast", "tiny-embedding", "gpt-4o-mini", "second-choice", "text-embedding-3-small"}
        self.assertEqual(found, expected)

    def test_each_model_goes_to_its_resource(self):
        answer = client().chat.completions.create(model="gpt-4o-mini", messages=ASK)
        self.assertIn("Hello!", answer.choices[0].message.content)
        self.assertTrue(client().chat.completions.create(model="tiny", messages=ASK, max_tokens=3).usage)

    def test_an_alias_is_the_model_that_it_names(self):
        answer = client().chat.completions.with_raw_response.create(model="fast", messages=ASK, max_tokens=3)
        self.assertEqual(answer.status_code, 200)
        self.assertEqual(answer.headers["x-aqueduct-model"], "tiny")

    def test_the_second_resource_answers_where_the_first_is_gone(self):
        for _ in range(3):
            answer = client().chat.completions.create(model="second-choice", messages=ASK)
            self.assertIn("Hello!", answer.choices[0].message.content)

    def test_streams_over_both_schemes(self):
        for scheme in ("http", "https"):
            with self.subTest(scheme):
                stream = client(scheme).chat.completions.create(model="gpt-4o-mini", messages=ASK, stream=True)
                parts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
                self.assertIn("Hello!", "".join(parts))
                self.assertGreater(len(parts), 1)

    def test_tool_calls(self):
        asked = [{"role": "user", "content": "what is the weather"}]
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
        answer = client().chat.completions.create(model="gpt-4o-mini", messages=asked, tools=tools)
        self.assertEqual(answer.choices[0].message.tool_calls[0].function.name, "get_weather")

    def test_embeddings(self):
        answer = client().embeddings.create(model="text-embedding-3-small", input="embed this")
        self.assertTrue(answer.data[0].embedding)

    def test_a_storage_key_is_no_ai_key(self):
        with self.assertRaises(openai.AuthenticationError):
            client(key=bed.BED["keys"]["admin"][1]).models.list()


if __name__ == "__main__":
    bed.main()
