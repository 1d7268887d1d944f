"""Public datasets in miniature: their files' and columns' exact names, a few images each, made in milliseconds."""

import csv
import gzip
import json
from pathlib import Path

import cv2
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from kontrast.types import FINDINGS

ALPHABETICAL = sorted(FINDINGS)
CHEXPERT_PLUS = """path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,patient_report_date_order,report,
section_narrative,section_clinical_history,section_history,section_comparison,section_technique,
section_procedure_comments,section_findings,section_impression,section_end_of_impression,section_summary,
section_accession_number,age,sex,race,ethnicity,interpreter_needed,insurance_type,recent_bmi,deceased,split"""
MIMIC_METADATA = """dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,
StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"""
PADCHEST = """,ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,
Projection,MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,PhotometricInterpretation_DICOM,
PixelRepresentation_DICOM,PixelAspectRatio_DICOM,SpatialResolution_DICOM,BitsStored_DICOM,WindowCenter_DICOM,
WindowWidth_DICOM,Rows_DICOM,Columns_DICOM,XRayTubeCurrent_DICOM,Exposure_DICOM,ExposureInuAs_DICOM,ExposureTime,
RelativeXRayExposure_DICOM,ReportID,Report,MethodLabel,Labels,Localizations,LabelsLocalizationsBySentence,labelCUIS,
LocalizationsCUIS"""
VINDR = """Aortic enlargement,Atelectasis,Calcification,Cardiomegaly,Clavicle fracture,Consolidation,Edema,Emphysema,
Enlarged PA,ILD,Infiltration,Lung Opacity,Lung cavity,Lung cyst,Mediastinal shift,Nodule/Mass,Pleural effusion,
Pleural thickening,Pneumothorax,Pulmonary fibrosis,Rib fracture,Other lesion,COPD,Lung tumor,Pneumonia,Tuberculosis,
Other diseases,No finding"""
BRAX = f"DicomPath,PngPath,PatientID,PatientSex,PatientAge,AccessionNumber,StudyDate,{','.join(ALPHABETICAL)},Rows,"
BRAX += "Columns,Manufacturer,ViewPosition"
COVID = """patientid,offset,sex,age,finding,RT_PCR_positive,survival,intubated,intubation_present,went_icu,in_icu,
needed_supplemental_O2,extubated,temperature,pO2_saturation,leukocyte_count,neutrophil_count,lymphocyte_count,view,
modality,date,location,folder,filename,doi,url,license,clinical_notes,other_notes"""


def table(path, columns, rows):
    """A CSV (or .csv.gz) with these columns, from rows of some of them."""
    names = columns if isinstance(columns, list) else columns.replace("\n", "").split(",")
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as stream:
        writer = csv.DictWriter(stream, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def image(path, bits=8):
    """A small grey picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(abs(hash(path.name)) % 2**32)
    pixels = rng.integers(0, 2**bits, (24, 20), dtype=np.uint8 if bits == 8 else np.uint16)
    assert cv2.imwrite(str(path), pixels)


def dicom(path, modality="DX", **elements):
    """A small DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.Modality, file.Rows, file.Columns, file.BitsAllocated, file.BitsStored, file.HighBit = modality, 6, 5, 8, 8, 7
    file.SamplesPerPixel, file.PixelRepresentation, file.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    for name, value in elements.items():
        setattr(file, name, value)
    file.PixelData = np.arange(30, dtype=np.uint8).tobytes()
    file.save_as(path, enforce_file_format=True)


def chexpert(root, name="CheXpert-v1.0-small"):
    head = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS]
    parts = {"train": (1, 2), "valid": (64541,), "test": (64741,)}
    for part, people in parts.items():
        rows = []
        for i in people:
            for view in ("view1_frontal", "view2_lateral"):
                place = f"{part}/patient{i:05d}/study1/{view}.jpg"
                image(root / name / place)
                side = {"Frontal/Lateral": view[6:].title(), "AP/PA": "AP" if "frontal" in view else ""}
                rows.append({"Path": f"{name}/{place}", "Sex": "Female", "Age": 60 + i % 9, "Edema": "-1.0", **side})
        table(root / name / f"{part}.csv", head, rows)


def chexpert_plus(root):
    rows, lines = [], []
    for i, part in enumerate(("train", "train", "valid")):
        place = f"{part}/patient{i + 1:05d}/study{i + 1}/view1_frontal"
        image(root / "PNG" / f"{place}.png")
        rows.append({
            "path_to_image": f"{place}.jpg", "path_to_dcm": f"{place}.dcm", "frontal_lateral": "Frontal", "ap_pa": "PA",
            "deid_patient_id": f"patient{i + 1:05d}", "report": "CANARY, with a comma", "age": "91.0", "sex": "Male",
            "split": part,
        })  # fmt: skip
        lines.append(json.dumps(
            {"path_to_image": f"{place}.jpg", **dict.fromkeys(FINDINGS), "Edema": (1.0, 0.0, -1.0)[i]}
        ))  # fmt: skip
    table(root / "df_chexpert_plus_240401.csv", CHEXPERT_PLUS, rows)
    (root / "chexbert_labels").mkdir()
    (root / "chexbert_labels" / "report_fixed.json").write_text("\n".join(lines))


def mimic(root):
    views = ["PA", "LATERAL", "LL", "", "AP"]
    rows, split = [], []
    for i, view in enumerate(views):
        subject, study, name = 10000032 + i // 2, 50414267 + i // 2, f"02aa804e-bde0afdd-112c0b34-7bc16630-4e38401{i}"
        image(root / f"files/p{str(subject)[:2]}/p{subject}/s{study}/{name}.jpg")
        rows.append({"dicom_id": name, "subject_id": subject, "study_id": study, "ViewPosition": view,
                     "ViewCodeSequence_CodeMeaning": "lateral" if view == "" else ""})  # fmt: skip
        split.append(
            {"dicom_id": name, "study_id": study, "subject_id": subject, "split": ("train", "validate", "test")[i // 2]}
        )
    table(root / "mimic-cxr-2.0.0-metadata.csv.gz", MIMIC_METADATA, rows)
    table(root / "mimic-cxr-2.0.0-split.csv.gz", "dicom_id,study_id,subject_id,split", [split[0], *split[2:]])
    for labeller, value in (("chexpert", "1.0"), ("negbio", "0.0")):
        table(
            root / f"mimic-cxr-2.0.0-{labeller}.csv.gz",
            ["subject_id", "study_id", *ALPHABETICAL],
            [
                {"subject_id": 10000032 + i, "study_id": 50414267 + i, "Edema": value, "Fracture": "-1.0"}
                for i in (0, 2)
            ],
        )
    head = ["study_id", *("Airspace Opacity" if name == "Lung Opacity" else name for name in ALPHABETICAL)]
    table(
        root / "mimic-cxr-2.1.0-test-set-labeled.csv", head,
        [{"study_id": 50414269, "Airspace Opacity": "1.0", "Edema": "0.0"}],
    )  # fmt: skip


def nih(root):
    head = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    head += "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    rows = [
        ("00000001_000.png", "Cardiomegaly|Effusion", "1", "058Y"), ("00000001_001.png", "No Finding", "1", "411"),
        ("00000002_000.png", "Pleural_Thickening", "2", "80"),
    ]  # fmt: skip
    lines = [{"Image Index": n, "Finding Labels": f, "Patient ID": p, "Patient Age": a, "View Position": "PA",
              "Follow-up #": 0, "Patient Gender": "F"} for n, f, p, a in rows]  # fmt: skip
    table(root / "Data_Entry_2017.csv", head, lines)
    for i, row in enumerate(rows):
        image(root / f"images_{i + 1:03d}" / "images" / row[0])
    (root / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (root / "test_list.txt").write_text("00000002_000.png")
    boxes = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Effusion,512,0,256,512,,,\n"
    (root / "BBox_List_2017.csv").write_text(boxes)


def padchest(root):
    cases = [
        ("1_a.png", "P1", "PA", "['pleural effusion', 'cardiomegaly']", "Physician", "MONOCHROME2"),
        ("2_a.png", "P1", "L", "['normal']", "RNN_model", "MONOCHROME1"),
        (
            "3_a.png",
            "P2",
            "AP_horizontal",
            "['costophrenic angle blunting', ' pneumonia', 'unchanged']",
            "Physician",
            "",
        ),
        ("4_a.png", "P3", "EXCLUDE", "['normal']", "Physician", ""),
        ("5_a.png", "P3", "PA", "['exclude']", "Physician", ""),
        ("6_a.png", "P4", "PA", "[]", "Physician", ""),
        ("7_a.png", "P4", "PA", "['normal']", "Physician", ""),
        ("7_a.png", "P4", "PA", "['normal']", "Physician", ""),
    ]
    rows = [
        {"ImageID": name, "ImageDir": i, "StudyDate_DICOM": "20140915", "StudyID": f"S{i}", "PatientID": patient,
         "PatientBirth": "1930.0", "PatientSex_DICOM": "F", "Projection": view, "Labels": found, "MethodLabel": method,
         "PhotometricInterpretation_DICOM": photo, "Report": "CANARY"}
        for i, (name, patient, view, found, method, photo) in enumerate(cases)
    ]  # fmt: skip
    table(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", PADCHEST, rows)
    for i, case in enumerate(cases[:6]):  # 7_a.png is missing, as some are
        image(root / str(i) / case[0], bits=16)


def vindr(root):
    names = VINDR.replace("\n", "").split(",")
    ids = ["50a418190bc3fb1ef1633bf9678929b3", "9a5094b2563a1ef3ff50dc5c7ff71345"]
    votes = {"Pleural effusion": (1, 1, 0), "Lung cavity": (1, 0, 0), "Pulmonary fibrosis": (0, 0, 0)}
    rows = [
        {"image_id": ids[0], "rad_id": f"R{r}", **dict.fromkeys(names, 0), **{n: v[r] for n, v in votes.items()}}
        for r in range(3)
    ]
    table(root / "annotations/image_labels_train.csv", ["image_id", "rad_id", *names], rows)
    other = [("Other disease" if name == "Other diseases" else name) for name in names]
    table(
        root / "annotations/image_labels_test.csv", ["image_id", *other],
        [{"image_id": ids[1], **dict.fromkeys(other, 0), "Other disease": 1}],
    )  # fmt: skip
    box = {
        "image_id": ids[0],
        "rad_id": "R1",
        "class_name": "Pleural effusion",
        "x_min": 1,
        "y_min": 2,
        "x_max": 3,
        "y_max": 5,
    }
    none = {"image_id": ids[0], "rad_id": "R2", "class_name": "No finding"}
    table(root / "annotations/annotations_train.csv", "image_id,rad_id,class_name,x_min,y_min,x_max,y_max", [box, none])
    table(root / "annotations/annotations_test.csv", "image_id,class_name,x_min,y_min,x_max,y_max", [
        {"image_id": ids[1], "class_name": "Other disease"}
    ])  # fmt: skip
    for part, name in zip(("train", "test"), ids, strict=True):
        dicom(root / part / f"{name}.dicom", PatientSex="M", PatientAge="047Y")


def rsna(root):
    ids = ["0004cfab-14fd-4e49-80ba-63a80b6bddd6", "00436515-870c-4b36-a041-de91049b9ab4",
           "003d8fa0-6bf1-40ed-b54c-ac657f8495c5"]  # fmt: skip
    rows = [{"patientId": ids[0], "Target": 0}, {"patientId": ids[2], "Target": 0}]
    rows += [
        {"patientId": ids[1], "x": x, "y": "152.0", "width": "213.0", "height": "379.0", "Target": 1}
        for x in (264, 562)
    ]
    table(root / "stage_2_train_labels.csv", "patientId,x,y,width,height,Target", rows)
    kinds = ["No Lung Opacity / Not Normal", "Lung Opacity", "Normal"]
    table(root / "stage_2_detailed_class_info.csv", "patientId,class", [
        {"patientId": i, "class": kind} for i, kind in [*zip(ids, kinds, strict=True), (ids[1], kinds[1])]
    ])  # fmt: skip
    for i in ids:
        dicom(
            root / "stage_2_train_images" / f"{i}.dcm",
            PatientID=i,
            ViewPosition="PA",
            PatientAge="051Y",
            PatientSex="F",
        )
    dicom(root / "stage_2_test_images" / "0000a175-0e68-4ca4-b1af-167204a7e0bc.dcm")
    return ids


def siim(root):
    head = ["ImageId", " EncodedPixels"]  # the space is theirs
    ids = [f"1.2.276.0.7230010.3.1.4.8323329.{n}.1517875201.850819" for n in (5597, 12515, 4904)]
    rows = [(ids[0], " -1"), (ids[1], " 175349 7 1013"), (ids[1], " 407576 2 1021"), (ids[2], "")]
    table(root / "train-rle.csv", head, [dict(zip(head, row, strict=True)) for row in rows])
    for i in ids:
        dicom(root / "dicom-images-train" / f"{i}.1" / f"{i}.2" / f"{i}.dcm", PatientID=i, PatientSex="M")


def brax(root):
    rows = []
    for i, (view, age) in enumerate((("PA", "45"), ("L", "85 or more"))):
        place = f"id_{i}a/Study_1.2.{i}/Series_3.{i}/image-4.{i}"
        image(root / "images" / f"{place}.png")
        rows.append({"DicomPath": f"Anonymized_DICOMs/{place}.dcm", "PngPath": f"images/{place}.png",
                     "PatientID": f"id_{i}a",
                     "PatientSex": "M", "PatientAge": age, "AccessionNumber": f"A{i}", "ViewPosition": view,
                     "Edema": ("1.0", "-1.0")[i]})  # fmt: skip
    table(root / "master_spreadsheet_update.csv", BRAX, rows)


def shenzhen(root):
    base = root / "ChinaSet_AllFiles"
    for name, text in (("CHNCXR_0001_0", "male 45yrs\nnormal"), ("CHNCXR_0327_1", "Female, 3 months\nPTB")):
        image(base / "CXR_png" / f"{name}.png")
        image(base / "mask" / f"{name}.png")
        (base / "ClinicalReadings").mkdir(exist_ok=True)
        (base / "ClinicalReadings" / f"{name}.txt").write_text(text)


def montgomery(root):
    base = root / "MontgomerySet"
    for name, text in (("MCUCXR_0001_0", "Patient's Sex: F\nPatient's Age: 027Y\nnormal"), ("MCUCXR_0104_1", "")):
        for folder in ("CXR_png", "ManualMask/leftMask", "ManualMask/rightMask"):
            image(base / folder / f"{name}.png")
        (base / "ClinicalReadings").mkdir(exist_ok=True)
        if text:
            (base / "ClinicalReadings" / f"{name}.txt").write_text(text)


def medmnist(root, name="chestmnist", labels=14, size=28):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 7), ("val", 3), ("test", 2)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, size, size), dtype=np.uint8)
        arrays[f"{part}_labels"] = rng.integers(0, 2, (count, labels), dtype=np.uint8)
    np.savez_compressed(root / f"{name}.npz", **arrays)
    return arrays


def covid_chestxray(root):
    cases = [
        ("2", "Pneumonia/Viral/COVID-19", "PA", "X-ray", "a.jpeg"), ("2", "No Finding", "L", "X-ray", "b.png"),
        ("3", "Unknown", "AP Supine", "X-ray", "c.jpg"), ("4", "todo", "AP", "X-ray", "d.jpg"),
        ("5", "Pneumonia/Viral/COVID-19", "Axial", "CT", "e.jpg"),
    ]  # fmt: skip
    table(root / "metadata.csv", COVID, [
        {"patientid": p, "finding": f, "view": v, "modality": m, "filename": n, "folder": "images", "sex": "M",
         "age": 65}
        for p, f, v, m, n in cases
    ])  # fmt: skip
    for case in cases:
        image(root / "images" / case[-1])


def covid_radiography(root):
    base = root / "COVID-19_Radiography_Dataset"
    for kind in ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"):
        for i in (1, 2):
            image(base / kind / "images" / f"{kind}-{i}.png")
            image(base / kind / "masks" / f"{kind}-{i}.png")
        (base / f"{kind}.metadata.xlsx").write_bytes(b"PK")


def pacs(root):
    for i in range(3):
        place = root / "DICOM" / f"0000{i}" / "AA01"
        dicom(place / "IM000001", PatientID=f"CANARY{i // 2}", StudyInstanceUID=f"1.2.{i}", ViewPosition="PA",
              PatientSex="F", PatientAge="050Y")  # fmt: skip
        dicom(place / "IM000002", modality="SR", PatientID=f"CANARY{i // 2}")
    (root / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 60)


MINIATURES = {
    "chexpert": chexpert, "chexpert-plus": chexpert_plus, "mimic-cxr": mimic, "nih": nih, "padchest": padchest,
    "vindr": vindr, "rsna": rsna, "siim": siim, "brax": brax, "shenzhen": shenzhen, "montgomery": montgomery,
    "medmnist": medmnist, "covid-chestxray": covid_chestxray, "covid-radiography": covid_radiography, "pacs": pacs,
}  # fmt: skip
"""Layout → what writes the set in miniature into an empty folder."""


def make(name, root):
    """The folder with one of them."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    MINIATURES[name](root)
    return root
