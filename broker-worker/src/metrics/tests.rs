//! That the families have the names that dashboards read.

use super::*;

#[test]
fn the_families_have_triton_s_names_and_labels() {
    let metrics = Metrics::default();
    let model = ModelId { name: "bird".into(), version: 1, digest: String::new() };
    let of_model = metrics.of(&model);
    of_model.computed(8, Duration::from_micros(900));
    of_model.computed(2, Duration::from_micros(100));
    of_model.pending.set(3);
    let timings = Timings { decode: 1, queue: 2, inference: 3, total: 6 };
    metrics.answered(Some(&model), Ok(()), &timings, Duration::from_millis(20));
    for code in ErrorCode::ALL {
        metrics.answered(None, Err(code), &timings, Duration::from_millis(20));
    }
    metrics.set_lag("predict.requests", 2, 17);
    let text = metrics.text();
    for line in [
        r#"nv_inference_count{model="bird",version="1"} 10"#,
        r#"nv_inference_exec_count{model="bird",version="1"} 2"#,
        r#"nv_inference_compute_infer_duration_us{model="bird",version="1"} 1000"#,
        r#"nv_inference_pending_request_count{model="bird",version="1"} 3"#,
        r#"nv_inference_request_success{model="bird",version="1"} 1"#,
        r#"nv_inference_request_duration_us{model="bird",version="1"} 6"#,
        r#"nv_inference_queue_duration_us{model="bird",version="1"} 2"#,
        r#"nv_inference_compute_input_duration_us{model="bird",version="1"} 1"#,
        r#"nv_inference_request_failure{model="",reason="REJECTED",version=""} 2"#,
        r#"nv_inference_request_failure{model="",reason="BACKEND",version=""} 2"#,
        r#"nv_inference_request_failure{model="",reason="OTHER",version=""} 3"#,
        r#"mlaas_worker_error_replies_total{code="NOT_FOUND"} 1"#,
        r#"mlaas_worker_stage_duration_seconds_count{model="bird",stage="infer",version="1"} 2"#,
        r#"mlaas_worker_stage_duration_seconds_count{model="bird",stage="total",version="1"} 1"#,
        r#"mlaas_worker_stage_duration_seconds_bucket{model="bird",stage="respond",version="1",le="0.01"} 0"#,
        r#"mlaas_worker_stage_duration_seconds_bucket{model="bird",stage="respond",version="1",le="0.025"} 1"#,
        r#"mlaas_worker_stage_duration_seconds_bucket{model="bird",stage="infer",version="1",le="0.001"} 2"#,
        r#"kafka_consumer_lag{partition="2",topic="predict.requests"} 17"#,
        "mlaas_worker_dead_letters_total 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
    }
    for family in ["process_cpu_seconds_total", "process_resident_memory_bytes", "mlaas_worker_build_info{"] {
        assert!(text.lines().any(|l| l.starts_with(family)), "{family}");
    }
    metrics.set_oldest("predict.requests", 2, Duration::from_millis(1500));
    let oldest = r#"mlaas_worker_oldest_unanswered_seconds{partition="2",topic="predict.requests"} 1.5"#;
    assert!(metrics.text().contains(oldest), "{}", metrics.text());
    metrics.forget_partition("predict.requests", 2);
    assert!(!metrics.text().contains(r#"partition="2""#));
}
