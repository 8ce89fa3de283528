"""LangChain's ChatOpenAI and OpenAIEmbeddings over every lane (openai 2.x underneath), and over llama.cpp's server."""

import os

import openai
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

import bed
from bed import through_aqueduct
from taped import TapedCase, embeddings, sdk_fixtures

URL = os.environ.get("AQUEDUCT_AI_URL")
LANES = {
    "openai": "gpt-4o",
    "other": "served",
    "anthropic": "claude-sonnet-4-5",
    "google": "gemini-2.5-flash",
    "aws": "anthropic.claude-sonnet-4-5-20250929-v1:0",
}
SAYS = "Grüße 世界 🌍! Grüße 世界 🌍! Grüße 世界 🌍!"


class Weather(BaseModel):
    """What the weather is."""

    city: str
    degrees: int


@tool
def sdk_weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"7 degrees in {city}"


@tool
def sdk_time() -> str:
    """Tells the time."""
    return "seven"


TOOLS = {"sdk_weather": sdk_weather, "sdk_time": sdk_time}


def chat(model, key="AQUEDUCT_TAPED_KEY", **more):
    return ChatOpenAI(model=model, base_url=URL, api_key=os.environ[key], **{"max_retries": 0, "timeout": 30, **more})


@through_aqueduct
class LangChain(TapedCase):
    script = staticmethod(embeddings)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        sdk_fixtures()

    def test_a_chat_is_answered(self):
        for lane, model in LANES.items():
            with self.subTest(lane):
                answer = chat(model, temperature=0.5, max_tokens=400).invoke([SystemMessage("Be brief."), HumanMessage("sdk says")])
                self.assertEqual(answer.content, SAYS)
                self.assertEqual(answer.response_metadata["finish_reason"], "stop")
                self.assertIsNotNone(answer.usage_metadata)

    def test_a_chat_is_streamed(self):
        for lane, model in LANES.items():
            with self.subTest(lane):
                whole = AIMessageChunk("")
                parts = 0
                for chunk in chat(model, stream_usage=True).stream("sdk says"):
                    whole += chunk
                    parts += 1
                self.assertEqual(whole.content, SAYS)
                self.assertGreater(parts, 3)
                self.assertEqual(whole.response_metadata["finish_reason"], "stop")
                self.assertIsNotNone(whole.usage_metadata)

    def test_tools_are_called_and_their_results_answered(self):
        for lane, model in LANES.items():
            with self.subTest(lane):
                for stream in (False, True):
                    with self.subTest(stream=stream):
                        bound = chat(model).bind_tools(list(TOOLS.values()))
                        messages = [HumanMessage("sdk tools please")]
                        if stream:
                            said = AIMessageChunk("")
                            for chunk in bound.stream(messages):
                                said += chunk
                        else:
                            said = bound.invoke(messages)
                        self.assertEqual([(call["name"], call["args"]) for call in said.tool_calls],
                                         [("sdk_weather", {"city": "Zürich"}), ("sdk_time", {})])
                        messages.append(said)
                        messages += [ToolMessage(TOOLS[call["name"]].invoke(call["args"]), tool_call_id=call["id"])
                                     for call in said.tool_calls]
                        self.assertEqual(bound.invoke(messages).content, "It is 7 degrees.")

    def test_a_schema_is_kept_to(self):
        for lane, model in LANES.items():
            with self.subTest(lane):
                asked = chat(model).with_structured_output(Weather, method="json_schema")
                self.assertEqual(asked.invoke("sdk schema"), Weather(city="Zürich", degrees=7))

    def test_errors_are_its_own_and_sent_once(self):
        for lane, model in LANES.items():
            with self.subTest(lane):
                for text, kind in (("sdk limited", openai.RateLimitError), ("sdk broken", openai.InternalServerError)):
                    for stream in (False, True):
                        self.tape.take()
                        given = chat(model)
                        with self.subTest(text, stream=stream), self.assertRaises(kind):
                            list(given.stream(text)) if stream else given.invoke(text)
                        self.assertEqual(len(self.tape.take()), 1)

    def test_a_stream_that_breaks_off_raises(self):
        for lane, model in LANES.items():
            with self.subTest(lane):
                with self.assertRaises(Exception) as caught:
                    list(chat(model).stream("sdk cut"))
                self.assertNotIsInstance(caught.exception, AssertionError)

    def test_texts_are_embedded(self):
        for model in ("text-embedding-3-large", "gemini-embedding-001", "amazon.titan-embed-text-v2:0", "cohere.embed-v4:0"):
            with self.subTest(model):
                # Without its own counting of tokens, for which it would fetch a vocabulary.
                given = OpenAIEmbeddings(model=model, base_url=URL, api_key=os.environ["AQUEDUCT_TAPED_KEY"], max_retries=0,
                                         check_embedding_ctx_length=False)
                self.assertEqual(given.embed_documents(["a", "bcd"]), [[1.0, 0.5], [3.0, 0.5]])
                self.assertEqual(given.embed_query("ab"), [2.0, 0.5])

    def test_a_real_server_answers_in_both_of_its_dialects(self):
        # llama.cpp: OTHER, and by its own /v1/messages as if it were ANTHROPIC.
        for key in ("AQUEDUCT_AI_KEY", "AQUEDUCT_TAPED_KEY"):
            with self.subTest(key):
                given = chat("tiny", key=key, max_tokens=12, stream_usage=True)
                answer = given.invoke("Grüße")
                self.assertGreater(answer.usage_metadata["output_tokens"], 0)
                whole = AIMessageChunk("")
                for chunk in given.stream("Grüße"):
                    whole += chunk
                self.assertGreater(whole.usage_metadata["output_tokens"], 0)
                self.assertIn(whole.response_metadata["finish_reason"], ("stop", "length"))

    def test_a_real_server_embeds(self):
        given = OpenAIEmbeddings(model="tiny-embedding", base_url=URL, api_key=os.environ["AQUEDUCT_AI_KEY"],
                                 check_embedding_ctx_length=False)
        self.assertEqual(len(given.embed_query("Grüße")), 64)


if __name__ == "__main__":
    bed.main()
