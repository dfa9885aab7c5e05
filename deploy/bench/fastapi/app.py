"""What most would write first: FastAPI, Pydantic and boto; a put and an update per event, answered when both are done."""

import os
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import uuid4

import aioboto3
from fastapi import FastAPI
from pydantic import BaseModel, Field


class Event(BaseModel):
    timestamp: datetime
    message_type: Literal["user_message", "agent_response", "error", "feedback", "tool_call", "custom_metric"]
    content: str | None = None
    response_time_ms: float | None = Field(None, ge=0)
    token_count: int | None = Field(None, ge=0)
    model_used: str | None = None
    user_feedback: float | None = Field(None, ge=1, le=5)
    error_details: str | None = None
    user_id: str | None = None
    metadata: dict | None = None


tables = {}


@asynccontextmanager
async def lifespan(_: FastAPI):
    endpoint = os.environ["AWS_ENDPOINT_URL_DYNAMODB"]
    async with aioboto3.Session().resource("dynamodb", endpoint_url=endpoint) as dynamodb:
        tables["events"] = await dynamodb.Table("ai-agent-events")
        tables["metrics"] = await dynamodb.Table("ai-agent-metrics")
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/api/v1/agents/{agent_id}/events", status_code=202)
async def record(agent_id: str, event: Event):
    event_id = str(uuid4())
    item = event.model_dump(exclude_none=True)
    item |= {"agent_id": agent_id, "event_id": event_id, "timestamp": f"{event.timestamp.isoformat()}#{event_id}"}
    if event.response_time_ms is not None:
        item["response_time_ms"] = Decimal(str(event.response_time_ms))
    await tables["events"].put_item(Item=item)
    await tables["metrics"].update_item(
        Key={"agent_id": agent_id, "date": event.timestamp.date().isoformat()},
        UpdateExpression="ADD total_messages :one, total_tokens_used :tokens, response_time_sum :time",
        ExpressionAttributeValues={
            ":one": 1,
            ":tokens": event.token_count or 0,
            ":time": Decimal(str(event.response_time_ms or 0)),
        },
    )
    return {"event_id": event_id, "status": "success", "message": "Event recorded successfully"}
